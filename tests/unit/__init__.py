"""Parts, each by itself."""

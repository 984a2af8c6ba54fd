"""What tests share: small fits, foreign files, the command line."""

"""Commands as a user calls them, in processes of their own."""

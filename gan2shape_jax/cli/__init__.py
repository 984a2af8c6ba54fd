"""The commands of an installed package: flags, errors in one line, exit codes.

This and the repository's experiments/ are all that reads flags.
"""

"""The `skiff` command line: a module for each command."""

"""The only place with system calls."""

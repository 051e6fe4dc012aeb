"""Turns documents of the OCI runtime specification into running processes."""

"""OCI runtime specification documents turned into running processes."""

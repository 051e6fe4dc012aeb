"""`skiff oci`: the OCI runtime as a program, with the command line that runc and crun have."""

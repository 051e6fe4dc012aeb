"""`skiff oci`: an OCI runtime as a program, with the command line of runc and crun."""

"""Bindings to the kernel: system calls, netlink and ioctls that Python's standard library lacks."""

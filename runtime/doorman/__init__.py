"""The doorman: a process that holds descriptors which must outlive engine and keeper.

These are the API's listening socket, and pidfds and streams of containers.
"""

"""The use cases of a stack: up, down, logs, run … Each takes a request and returns a result; events report its progress.

Nothing here reads flags or writes to a terminal: `compose.cli` does, and other programs may call the same functions.
"""

"""Containers. Here is what they are: state, table, lifecycle; `making` creates them, `views` shows them."""

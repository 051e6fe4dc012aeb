"""Containers: their state, table and lifecycle. `making` creates them, `views` shows them."""

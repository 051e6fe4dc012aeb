"""The engine of a user without root: its namespaces, and the process that stays outside of them."""

"""Skiff's container runtime and the engine that serves it."""

"""The keeper, a shim like conmon: the parent process of every container, and the engine's client of it."""

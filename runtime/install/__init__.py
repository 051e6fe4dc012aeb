"""`skiff engine install`: units for systemd, which owns the API's socket and starts the engine on demand and at boot."""

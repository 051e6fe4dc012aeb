"""`skiff engine install`: systemd holds the API's socket, starts the engine for its clients, and at boot."""

"""Running without root: the engine's user, mount and network namespaces, and the host-side process outside of them."""

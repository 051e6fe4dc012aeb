"""Networks of containers: namespaces, bridges, addresses, published ports, name resolution."""

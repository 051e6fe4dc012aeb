"""Container networks: namespaces, bridges, addresses, firewall, published ports, name resolution."""

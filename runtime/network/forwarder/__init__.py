"""The forwarder: a process that proxies published ports which nftables can't forward, and outlives the engine.

These are ports on the host's IPv6 addresses for containers without IPv6, on ::1, and without root all ports.
"""

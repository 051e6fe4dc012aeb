"""What nftables can't turn to a container, carried by a process that outlives the engine.

That is connections to this machine's IPv6 addresses and, where the bridges are in a namespace of their own, all.
"""

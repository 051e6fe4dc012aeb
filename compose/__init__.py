"""Skiff's orchestrator: from a Compose file to a running stack, through the Docker Engine API."""

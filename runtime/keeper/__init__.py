"""The parent process of every container and its client."""

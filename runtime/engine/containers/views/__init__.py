"""What is shown of containers: lists, inspect, sizes, usage, changes, files."""

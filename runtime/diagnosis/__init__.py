"""What `skiff doctor` finds, beside what it asks on every machine."""

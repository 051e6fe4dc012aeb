"""Everything that users read: progress, tables, logs, JSON."""

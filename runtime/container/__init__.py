"""One container, without an engine: its OCI document, resource limits, log, health check and restart policy."""

"""One container: its OCI document, its log, its health, when it is started again."""

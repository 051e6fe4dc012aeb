"""HTTP/1.1 messages, as far as the Docker Engine API needs them; no sockets in here."""

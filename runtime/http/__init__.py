"""Parser and writer for the parts of HTTP/1.1 that the Docker Engine API needs; without I/O."""

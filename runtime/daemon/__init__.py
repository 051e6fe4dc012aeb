"""The program: an engine and the API that serves it, put together."""

"""BuildKit's gRPC API over our own builder: what `docker build` with buildx, bake and `docker compose build` speak."""

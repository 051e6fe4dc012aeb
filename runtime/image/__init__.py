"""Images: references, content by digest, unpacked layers, and where they come from."""

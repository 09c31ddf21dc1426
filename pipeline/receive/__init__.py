"""What receivers share: bounded bodies, decompression limits."""

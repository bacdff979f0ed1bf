"""From tensors to bytes and back: what a frame of an artifact holds."""

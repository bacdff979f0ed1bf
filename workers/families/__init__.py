"""What differs between video diffusion transformers: one small file each, one registry."""

"""Attention artifacts: tensors to objects and back, streamed beside the denoising."""

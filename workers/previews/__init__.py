"""Previews: what a job's latents look like while it is still being denoised."""

"""Changing attention while a video is made, and what the change does to the video."""

"""Routes: which alerts go to which integration, as people set them up, and what a draft would have taken."""

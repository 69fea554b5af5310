"""Routes: which events of which alerts go to which integration. Matching is pure, and says why for every condition."""

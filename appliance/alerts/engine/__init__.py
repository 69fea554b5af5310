"""Judges rules in the stream: an observer of batches, what it knows of rules and devices, and what it keeps."""

"""Metrics: what devices send and what people call it, for pages and the API."""

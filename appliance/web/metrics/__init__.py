"""Metrics, and how people call what devices send: pages and API."""

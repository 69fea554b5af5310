"""Maintenance windows: pages and API."""

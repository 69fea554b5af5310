"""Tenants, for operators: pages and the API."""

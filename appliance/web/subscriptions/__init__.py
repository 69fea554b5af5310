"""Subscriptions: what tenants have bought, for pages and the API."""

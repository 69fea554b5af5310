"""Quarantine: messages that were not accepted, replayed or dismissed, for pages and the API."""

"""The audit: who changed what, for pages, the API and CSV."""

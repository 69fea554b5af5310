"""Integrations: the receivers that a tenant set up. Secrets enter and are sealed; they never leave but to a sender."""

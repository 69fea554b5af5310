"""Integrations: the receivers of notices, as people set them up. Secrets enter; those made here leave, once."""

"""Quarantine: messages that were not accepted, kept with their reason, replayed or dismissed by people."""

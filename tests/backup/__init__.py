"""Backups: the age file, the archive in it, and how one is written and verified."""

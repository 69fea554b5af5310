"""Backups: one file with the database, the keys, the certificates and the configuration, under a passphrase.

Enters: a stream of pg_dump, small files, a passphrase. Leaves: a file in the age format with a tar archive inside, and
its parts again, each held against its hash. Never: a plain copy on the disk, a passphrase in an argument, in an
environment or in a log, more than a few megabytes in memory at once.
"""

"""Postgres: a driver on Trio, a pool, named statements, migrations, roles, locks and notifications.

Enters: connection strings, SQL files, rows. Leaves: connections, results, and errors sorted by what to do about them.
Never: a thread of its own, a decision of the domain, or a statement that is not in ``sql/``.
"""

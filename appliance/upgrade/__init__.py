"""Upgrades: what stands before a migration and around it.

Enters: a database, with the program that starts on it. Leaves: the schema of this program, with a copy of an embedded
database as it was before; or a refusal that says what to do. Never: a migration under the feet of an older program that
runs, a migration without a copy that nobody has asked for, a database left between two schemas.
"""

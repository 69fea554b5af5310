"""The registry: which devices there are, from memory, and what becomes of those never seen before.

Enters: keys of devices. Leaves: an admission status for each. Never: a round trip to Postgres for a known device.
"""

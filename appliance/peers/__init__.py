"""Peers: the other appliances on the same database, each with a broker and devices of its own.

Enters: the id, the machine's name and the version of each instance, and how long it listened. Leaves: a list for
people, with those that are away. Never: a decision about a device; ``devices.live.presence`` asks the same tables.
"""

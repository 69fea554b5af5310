"""Quarantine: messages that were not accepted, kept with their reason, replayed or dismissed by people.

Enters: refused messages of a batch, and decisions of people. Leaves: rows in ``quarantine_events``, exact counts by
reason, and readings of replayed messages. Never: a refused message that disappears without a count.
"""

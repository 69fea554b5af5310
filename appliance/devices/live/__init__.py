"""The live state of devices: latest values, times, presence, and hours whose roll-ups are due.

Enters: committed batches. Leaves: rows of ``device_state``, written with the batch. Never: a person's decision.
"""

"""Devices: what the appliance knows of each, in memory and in Postgres.

Enters: the readings of a committed batch. Leaves: the state of each device, written behind the stream.
Never: a change of a device's state that was not committed.
"""

"""Alerts: rules that judge what devices send, the alerts that they open, and what people do with them.

Enters: committed readings (the engine is an observer of batches), silence (timers), the actions of people. Leaves: rows
of ``fleet_alert`` with their timelines. Never: a refused, duplicate or late message; a decision on where an alert is
delivered.
"""

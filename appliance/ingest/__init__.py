"""Ingest: every message ends in exactly one committed place, and only then is it acknowledged.

Enters: batches of messages as received, over MQTT or HTTP, from the sources the supervisor hands in.
Leaves: telemetry, quarantine and ledger rows in one transaction a batch; after the commit, a verdict for each message.
Never: an acknowledgement before the commit, a database round trip for a known device, a reading that goes back a step.
"""

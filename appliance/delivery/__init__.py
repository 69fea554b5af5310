"""Deliveries: which alerts are told to whom, and how that goes.

Enters: jobs, which the database writes in the transaction of an alert's event (``outbox``), and what people set up
(``integrations``, ``routes``). Leaves: requests to receivers (``senders``, over the checked connections of
``outgoing``), and the state of every job. It never makes the storage of a reading wait, and never sends a job twice on
purpose: a repeat after a crash carries the same id.
"""

"""Subscriptions: how long a tenant has paid, for how many devices, and what that means at a given instant.

Enters: rows of ``subscriptions`` and requests to renew. Leaves: a status for an instant, the choice of a seat, renewed
terms. Never: timers that decide service. What a subscription is worth follows from its columns and the clock alone,
so that a worker that runs late changes nothing but the record.
"""

"""People: users, passwords, sessions, second factors, API tokens, one-time links, and the audit they leave.

Enters: who asks, from where, and when. Leaves: a signed-in person, or a refusal that says nothing of who exists;
secrets once, when they are made. Never: a secret in a log or a row (hashes only), a change without its audit row in the
same transaction, a look at HTTP - cookies and pages are the web's.

Functions make a transaction, or a savepoint in the one they are in. Those that list and administer people may run as
``appliance_web`` with its tenant set; those that prove who somebody is run as ``appliance_ingest``.
"""

"""People: users, passwords, sessions, second factors, API tokens, one-time links, and queries of the audit.

Enters: credentials and changes, with who sends them, from where and when. Leaves: a signed-in user, or a refusal that
does not tell which accounts exist; each secret once, when it is created. It never writes a secret to a log or a row
(hashes only), never makes a change without its audit row in the same transaction, and knows nothing of HTTP: cookies
and pages belong to ``web``.

Functions make a transaction, or a savepoint in the one they are in. Those that list and administer people may run as
``appliance_web`` with its tenant set; those that prove who somebody is run as ``appliance_ingest``.
"""

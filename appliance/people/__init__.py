"""People: users, passwords, sessions, second factors, API tokens, one-time links, and queries of the audit.

Enters: credentials and changes, with who sends them, from where and when. Leaves: a signed-in user, or a refusal that
does not tell which accounts exist; each secret once, when it is created. It never writes a secret to a log or a row
(hashes only), never makes a change without its audit row in the same transaction, and knows nothing of HTTP: cookies
and pages belong to ``web``.

Functions open a transaction, or a savepoint inside the current one. Those that list and administer users may run as
the role ``appliance_web`` with its tenant set; those that check credentials run as ``appliance_ingest``.
"""

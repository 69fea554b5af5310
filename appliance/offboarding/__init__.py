"""Offboarding: a tenant is exported, and deleted, with everything that belongs to it.

Enters: the wish of an operator, confirmed twice. Leaves: the record of a deletion (who, when, how many rows of what)
and, in the end, no other row of the tenant in any table. Never: a row of another tenant; "done" while a row is left.

Theory. The request is one transaction: the tenant is DELETING, its devices and people have no credentials any more, its
integrations are disabled, and a row in ``tenant_deletions`` asks for the work::

    ACTIVE, SUSPENDED --request--> DELETING, RUNNING --no row left--> gone, CHECKING --no row came in last--> DONE

From the request on, ingest and provisioning know no such tenant; nothing brings it back. The work is done in slices,
each a transaction of its own that deletes some rows of one table and counts them in the record. Which rows are left is
read from the tables, never remembered: kill -9 costs at most the current slice, and the next process goes on. One
process works at a time, by an advisory lock that ends with its session.

Tables are found in the catalogue. :mod:`.tables` only says in which order they go; one that it does not name goes last.
The tenant's own row goes in a transaction that has found no other row in any table; foreign keys refuse whatever would
still be added to it. Tables without such a key may get rows from a transaction that was open at that moment. So it is
checked again once all of those have ended, and, for a week, every few minutes: a frozen process may wake up.
"""

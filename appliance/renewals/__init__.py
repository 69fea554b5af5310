"""Renewals: a subscription gets its next term, once, however often it is asked for.

Enters: a request of a customer or an operator, and the rows of the tenant's subscriptions, locked. Leaves: the new
term with its ADDONs, the devices that lose their seats, and an answer that is kept, all in one transaction; or a
refusal that says what to mend. Never: a decision by time alone; how a subscription ends is ``subscriptions.lifecycle``.

Theory. :mod:`.plan` is pure: it makes of rows, request and instant what a renewal would do, for the preview and for the
renewal alike. :mod:`.renewal` takes the locks, asks :mod:`.requests` whether it was asked before, makes the plan from
what it has locked, and carries it out.
"""

"""Conditions: alerts that no device's reading causes, such as a full subscription or a clock in doubt.

Enters: what is so now, as :class:`~appliance.alerts.conditions.condition.Condition`, from keepers that compare and from
whoever knows (renewals, the clock, integrations). Leaves: alerts that open, are brought up to date, and close with
``cleared``. Never: a probe of its own; what is wrong with the appliance is told by functions that are handed in.

Theory. A condition has a fingerprint, and is raised while it holds. Raising what is raised changes nothing, unless its
summary, its details or its count did. ``alert_conditions`` remembers what holds, so that an alert that a person closed
stays closed until its condition has ended, or ``alerts.reopen_after`` has passed. Most conditions have a *keeper*: it
says which of its conditions hold, and all others of it end.
"""

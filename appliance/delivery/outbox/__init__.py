"""The outbox: jobs from the event of an alert to their end.

Enters: jobs that a trigger of the database wrote beside the event. Leaves: their outcomes. A courier claims a job under
a lease, decides once more whether it is due, sends it, and writes down how that went; a process that dies leaves a job
whose lease runs out. It never claims a job while an earlier one of the same alert and route is not finished.
"""

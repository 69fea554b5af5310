"""Watchdog: whether a message gets from the broker through commit and rule to the outbox, proven again and again.

Enters: what the broker's probe hears, the tries of the stream's batches, and the rows that the outbox takes. Leaves:
how long ago all of it was last proven, what is missing, and calls of ``delivery.heartbeat_url``, by which somebody
outside learns that this appliance is gone. Never: anything that readings or notices wait for.

Theory. A *probe* is a number. It is judged by the step of a rule and written as a row in the transaction of a batch;
the dispatcher of deliveries takes the row as it takes jobs. What was proven is as old as the broker's message that was
the newest when the probe was made. All times are monotonic: a clock in doubt changes nothing.
"""

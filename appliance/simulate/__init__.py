"""A fleet of simulated devices that publish to the real broker.

Enters: the number of devices of each behaviour, a rate, a limit of messages or time, a broker. Leaves: MQTT messages,
counts of their outcomes, and on request a ledger of what the broker acknowledged. Never: a look into the appliance or
its database.

The pure, seeded part: ``sensors`` makes values, ``refused`` makes messages that must not be accepted, ``devices`` holds
the behaviours, ``fleet`` decides which device sends next, ``schedule`` and ``outcome_counts`` do the arithmetic of rate
and result. ``publish`` is the shell with the connections, ``ledger`` writes the file.
"""

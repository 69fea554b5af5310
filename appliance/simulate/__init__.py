"""A fleet of devices that do not exist, publishing to the real broker.

Enters: how many devices of which behaviour, a rate, a bound, a broker. Leaves: MQTT messages, a count of what became
of each, and on demand a ledger of what the broker acknowledged. Never: a look into the appliance or its database.

``sensors`` makes values, ``refused`` messages that must not be accepted, ``devices`` behaviours, ``fleet`` the order
in which they speak: all pure and seeded. ``schedule`` and ``outcome_counts`` do the arithmetic of rate and result; ``publish``
is the shell with the connections, ``ledger`` the file.
"""

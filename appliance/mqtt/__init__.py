"""MQTT 5 on Trio: a sans-I/O session over the mqtt5 codec, and a client with the names of aiomqtt 3.

Enters: bytes from a broker, messages to publish. Leaves: packets in batches, acknowledgements in arrival order.
Never: a decision about payloads, or an exception from the session for anything a peer sends.

From the inside out: ``framing`` (bytes to packets), ``keepalive``, ``inflight`` (what either side still has to
acknowledge, and packet ids), ``requests`` and ``violations`` (what was asked, and what must not be said), ``session``
(the protocol, no I/O), ``transport`` (byte streams), ``pump`` (a session on a stream), ``inbox``, ``receipts`` and
``subscriptions`` (pending messages and answers, and what is wanted), ``connection`` (one stream after the other),
``publishing`` and ``client`` (the interface). ``topics`` stands alone.
"""

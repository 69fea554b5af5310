"""MQTT 5 on Trio: a sans-I/O session over the mqtt5 codec, and two clients on top of it.

Enters: bytes from a broker, messages to publish. Leaves: packets in batches or one by one, acknowledgements in arrival
order. Never: a decision about payloads, or an exception from the session for anything a peer sends.

From the inside out: ``framing`` (bytes to packets), ``keepalive``, ``inflight`` (packet ids, and what we still have to
acknowledge), ``exchanges`` and ``sending`` (our messages, until their last answer), ``reception`` (the broker's),
``requests`` and ``violations`` (what was asked, and what must not be said), ``session`` (the protocol, no I/O),
``transport`` (byte streams), ``pump`` (a session on a stream), ``inbox``, ``receipts`` and ``subscriptions`` (pending
messages and answers, and what is wanted), ``connection`` (one stream after the other), ``publishing``, ``subscribing``
and ``client`` (the interface). ``aiomqtt`` is another interface, of the library of that name, in which the caller takes
each step (``manual``). ``journal`` keeps a session over a crash. ``topics`` stands alone.

docs/mqtt-client.md has examples, and what cancellation and a crash leave behind.
"""

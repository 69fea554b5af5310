"""Outgoing connections: every one that a customer can point somewhere is dialled here, and nowhere else.

A host and a port enter, a stream to the checked address leaves. A name is resolved once, each of its addresses is
judged, and exactly the judged address is dialled. Loopback, link-local, private and the machine's own networks are
refused unless ``delivery.allow_networks`` lists them.
"""

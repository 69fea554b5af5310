"""The place of a caller that takes the steps of each exchange by itself, such as ``appliance.mqtt.aiomqtt``."""

from typing import Any, Protocol

from appliance.mqtt.events import Connected, PubAcks, PubComps, Publishes, PubRecs, PubRels


class Manual(Protocol):
    """Takes what the broker sends in place of inbox and receipts: for a caller that answers by itself.

    Quick, and never waits. What it needs of the session it has from the connection.
    """

    def attach(self, connection: Any) -> None:
        """Begin a life of the client over this ``Connection``, which imports us, before anything comes."""
        ...

    def on_publishes(self, event: Publishes) -> None:
        """Take messages of the current connection."""
        ...

    def on_pubrels(self, event: PubRels) -> None:
        """Take what the broker releases."""
        ...

    def on_acks(self, event: PubAcks | PubRecs | PubComps) -> None:
        """Take what the broker says of messages of ours."""
        ...

    def on_connected(self, event: Connected) -> None:
        """Note a new connection, before anything comes over it."""
        ...

    def on_lost(self) -> None:
        """Note that there is no connection: one has ended, or the client is closed."""
        ...

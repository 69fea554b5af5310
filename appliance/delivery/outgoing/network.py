"""The one way out: names resolved, addresses judged, the judged address dialled."""

from typing import Protocol

import trio

from appliance.delivery.outgoing.deadlines import Deadlines


class Network(Protocol):
    """Dials for senders."""

    deadlines: Deadlines

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """Return a connected stream to an allowed address of ``host``.

        Raises NotAllowed when an address of the name is refused, Unreached when there is no name or no connection.
        """
        ...

"""A broker in memory behind a network that holds nothing."""

import trio
import trio.testing
from mqtt5 import ConnAckPacket, ConnectPacket

from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker


class Unbuffered(ScriptedBroker):
    """A broker behind a network that holds nothing: who writes waits until the other reads."""

    async def open(self, _: trio.Nursery) -> trio.abc.Stream:
        """Connect a client."""
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.lockstep_stream_pair()
        self._arrived.send_nowait(theirs)
        return ours


async def accepted(broker: Unbuffered) -> Peer:
    """Accept the next connection; return its far end."""
    peer = await broker.arrival()
    await peer.expect(ConnectPacket)
    await peer.send(ConnAckPacket())
    return peer

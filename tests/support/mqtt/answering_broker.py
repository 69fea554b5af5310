"""The far end of one connection that answers everything, as a broker does that has one client."""

import trio
from mqtt5 import (
    DisconnectPacket,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
    QoS,
    SubAckPacket,
    SubscribePacket,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
)

from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED


class AnsweringBroker:
    """Serves peers, and keeps what came.

    ``subscriptions`` are the filters it holds, ``acknowledged`` the ids of PUBACKs and PUBRECs,
    ``completed`` those of PUBCOMPs, ``open`` its live connections.
    ``pause`` is the seconds before each answer.
    """

    def __init__(self) -> None:
        self.subscriptions: set[str] = set()
        self.published: list[PublishPacket] = []
        self.acknowledged: list[int] = []
        self.completed: list[int] = []
        self.open = 0
        self.pause = 0.0

    async def serve_all(self, broker: ScriptedBroker) -> None:
        """Serve one connection after the other, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self.serve, await broker.arrival())

    async def serve(self, peer: Peer) -> None:
        """Answer until the client has left."""
        self.open += 1
        try:
            while (packet := await peer.packet()) is not None and not isinstance(packet, DisconnectPacket):
                await trio.sleep(self.pause)
                match packet:
                    case PublishPacket():
                        self.published.append(packet)
                        if packet.packet_id is not None:
                            kind = PubRecPacket if packet.qos == QoS.EXACTLY_ONCE else PubAckPacket
                            await peer.send(kind(packet.packet_id))
                    case PubRelPacket():
                        await peer.send(PubCompPacket(packet.packet_id))
                    case PubAckPacket():
                        self.acknowledged.append(packet.packet_id)
                    case PubRecPacket():
                        self.acknowledged.append(packet.packet_id)
                        await peer.send(PubRelPacket(packet.packet_id))
                    case PubCompPacket():
                        self.completed.append(packet.packet_id)
                    case SubscribePacket():
                        self.subscriptions |= {entry.pattern for entry in packet.topic_filters}
                        await peer.send(SubAckPacket(packet.packet_id, [GRANTED] * len(packet.topic_filters)))
                    case UnsubscribePacket():
                        self.subscriptions -= set(packet.patterns)
                        codes = [UnsubAckReasonCode.SUCCESS] * len(packet.patterns)
                        await peer.send(UnsubAckPacket(packet.packet_id, codes))
                    case PingReqPacket():
                        await peer.send(PingRespPacket())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            await peer.close()

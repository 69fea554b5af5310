"""A session whose broker is a script: packets in, packets out, all by hand."""

import mqtt5
from mqtt5 import ConnAckPacket, PublishPacket, QoS

from appliance.mqtt.events import Event, PubAcks, Publishes
from appliance.mqtt.session import Session
from appliance.mqtt.terms import Settings


def new_session(**settings: object) -> Session:
    """A session that has not connected yet."""
    return Session(Settings("scripted", **settings))  # type: ignore[arg-type]


def connected_session(connack: ConnAckPacket | None = None, **settings: object) -> Session:
    """A session whose broker has accepted it; what it sent up to there is read away."""
    session = new_session(**settings)
    accept(session, connack)
    return session


def accept(session: Session, connack: ConnAckPacket | None = None, now: float = 0.0) -> list[Event]:
    """Let a disconnected session connect and be accepted."""
    session.connect(now)
    sent(session, now)
    return session.receive_data((connack or ConnAckPacket()).write(), now)


def sent(session: Session, now: float = 0.0) -> list[mqtt5.Packet]:
    """What the session wants to write, decoded."""
    return decoded(session.data_to_send(now))


def decoded(data: bytes) -> list[mqtt5.Packet]:
    """All packets of some bytes, which must end with one."""
    packets: list[mqtt5.Packet] = []
    view = memoryview(data)
    while view:
        packet, size = mqtt5.read(view)
        packets.append(packet)
        view = view[size:]
    return packets


def qos1(packet_id: int, payload: bytes = b"x", topic: str = "t") -> PublishPacket:
    """A message that wants an acknowledgement."""
    return PublishPacket(topic, payload, qos=QoS.AT_LEAST_ONCE, packet_id=packet_id)


def written(*packets: mqtt5.Packet) -> bytes:
    """The packets as a stream."""
    return b"".join(packet.write() for packet in packets)


def flattened(events: list[Event]) -> list[object]:
    """Events without the accident of how chunks were cut: each packet of a group on its own."""
    flat: list[object] = []
    for event in events:
        if isinstance(event, Publishes | PubAcks):
            flat += event.packets
        else:
            flat.append(event)
    return flat

"""A session whose broker is a script: packets in, packets out, all by hand."""

import mqtt5
from mqtt5 import ConnAckPacket, DisconnectPacket, PublishPacket, QoS

from appliance.mqtt.events import Event, ProtocolFailure, PubAcks, PubComps, Publishes, PubRecs, PubRels
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from appliance.mqtt.terms import Settings


def new_session(**settings: object) -> Session:
    """Return a session that has not connected yet."""
    return Session(Settings("scripted", **settings))  # type: ignore[arg-type]


def connected_session(connack: ConnAckPacket | None = None, **settings: object) -> Session:
    """Return a session that the broker has accepted; what it sent so far is read away."""
    session = new_session(**settings)
    accept(session, connack)
    return session


def accept(session: Session, connack: ConnAckPacket | None = None, now: float = 0.0) -> list[Event]:
    """Let a disconnected session connect and be accepted."""
    session.connect(now)
    sent(session, now)
    return session.receive_data((connack or ConnAckPacket()).write(), now)


def sent(session: Session, now: float = 0.0) -> list[mqtt5.Packet]:
    """Return what the session wants to write, decoded."""
    return decoded(session.data_to_send(now))


def decoded(data: bytes) -> list[mqtt5.Packet]:
    """Return all packets of some bytes, which must end with one."""
    packets: list[mqtt5.Packet] = []
    view = memoryview(data)
    while view:
        packet, size = mqtt5.read(view)
        packets.append(packet)
        view = view[size:]
    return packets


def qos0(payload: bytes = b"x") -> PublishPacket:
    """Return a message that wants no acknowledgement."""
    return PublishPacket("t", payload)


def qos1(packet_id: int, payload: bytes = b"x", topic: str = "t") -> PublishPacket:
    """Return a message that wants an acknowledgement."""
    return PublishPacket(topic, payload, qos=QoS.AT_LEAST_ONCE, packet_id=packet_id)


def qos2(packet_id: int, payload: bytes = b"x", duplicate: bool = False) -> PublishPacket:
    """Return a message that wants the exchange of QoS 2."""
    return PublishPacket("t", payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


def written(*packets: mqtt5.Packet) -> bytes:
    """Return the packets as a stream."""
    return b"".join(packet.write() for packet in packets)


def flattened(events: list[Event]) -> list[object]:
    """Return events with each packet of a group on its own, however the chunks were cut."""
    flat: list[object] = []
    for event in events:
        if isinstance(event, Publishes | PubAcks | PubRecs | PubComps | PubRels):
            flat += event.packets
        else:
            flat.append(event)
    return flat


def failure(session: Session, data: bytes) -> ProtocolFailure:
    """Feed what must end the connection; the DISCONNECT sent is checked against the event."""
    *_, event = session.receive_data(data, 0.0)
    assert isinstance(event, ProtocolFailure)
    last = sent(session)[-1]
    assert isinstance(last, DisconnectPacket)
    assert last.reason_code == event.reason_code
    assert session.state is State.DISCONNECTED
    assert session.receive_data(written(qos1(1)), 0.0) == []  # deaf from here on
    return event

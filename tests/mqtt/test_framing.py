"""Claims about cutting a stream of bytes into packets."""

import mqtt5
import pytest
from mqtt5 import DisconnectReasonCode, PingRespPacket, PubAckPacket, PublishPacket, QoS

from appliance.mqtt.framing import Framing

PUBLISH = PublishPacket("a/b", b"payload", qos=QoS.AT_LEAST_ONCE, packet_id=5)
PACKETS: list[mqtt5.Packet] = [PUBLISH, PubAckPacket(9), PingRespPacket(), PublishPacket("c", b"x" * 300)]
STREAM = b"".join(packet.write() for packet in PACKETS)


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_two_chunks_are_the_same_packets_wherever_they_are_cut(cut: int) -> None:
    framing = Framing()
    first, fault = framing.feed(STREAM[:cut])
    second, other = framing.feed(STREAM[cut:])
    assert (fault, other) == (None, None)
    assert first + second == PACKETS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_chunks_of_any_size_are_the_same_packets(size: int) -> None:
    framing = Framing()
    packets = []
    for start in range(0, len(STREAM), size):
        some, fault = framing.feed(STREAM[start : start + size])
        assert fault is None
        packets += some
    assert packets == PACKETS


@pytest.mark.parametrize(
    "malformed",
    [
        b"\x00\x00",  # reserved type 0
        b"\x30\xff\xff\xff\xff\x01",  # length of five bytes
        b"\x36\x05\x00\x01a\x00\x00",  # QoS 3
        b"\x41\x02\x00\x01",  # reserved flags
        b"\xd0\x01\x00",  # PINGRESP with a body
        b"\x30\x03\x00\xff\x61",  # text that runs out of its packet
        b"\x30\x07\x00\x01a\x03\x23\x00\x00",  # topic alias 0
        b"\x20\x02\x00\x00",  # no properties
    ],
)
def test_malformed_bytes_are_a_fault_after_the_packets_before_them(malformed: bytes) -> None:
    packets, fault = Framing().feed(PUBLISH.write() + malformed + PUBLISH.write())
    assert packets == [PUBLISH]
    assert fault is not None
    assert fault.reason_code == DisconnectReasonCode.MALFORMED_PACKET
    assert fault.detail


# The codec's panic leaves its cause with sys.unraisablehook, besides a line of its own on standard error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("text", [b"\xff\xfe\x80", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_a_fault(text: bytes) -> None:
    packets, fault = Framing().feed(PUBLISH.write() + b"\x30\x06\x00\x03" + text + b"\x00")
    assert packets == [PUBLISH]
    assert fault is not None
    assert fault.reason_code == DisconnectReasonCode.MALFORMED_PACKET


def test_a_packet_above_the_limit_is_a_fault_as_soon_as_its_header_is_here() -> None:
    packets, fault = Framing(max_packet_size=1000).feed(b"\x30\xe9\x07")  # 1001 bytes follow
    assert packets == []
    assert fault is not None
    assert fault.reason_code == DisconnectReasonCode.PACKET_TOO_LARGE


def test_the_limit_holds_for_a_packet_that_comes_whole_and_lets_one_of_its_size_pass() -> None:
    whole = PublishPacket("a", b"x" * 500).write()
    assert Framing(max_packet_size=len(whole)).feed(whole)[1] is None
    packets, fault = Framing(max_packet_size=len(whole) - 1).feed(whole)
    assert packets == []
    assert fault is not None


def test_a_large_packet_in_small_chunks_costs_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by what is done, not by a clock: one buffer grows in place, and each chunk is looked at once."""
    looks = 0
    read = mqtt5.read

    def counted(view: memoryview) -> tuple[mqtt5.Packet, int]:
        nonlocal looks
        looks += 1
        return read(view)

    monkeypatch.setattr(mqtt5, "read", counted)
    data = PublishPacket("a", bytes(1_000_000)).write()
    chunks = [data[start : start + 1024] for start in range(0, len(data), 1024)]
    framing = Framing()
    buffer = framing._partial
    received = [framing.feed(chunk)[0] for chunk in chunks]
    assert [len(packets) for packets in received if packets] == [1]
    assert framing._partial is buffer
    assert looks == len(chunks)

"""The characters of a topic name: we send those that a real Mosquitto takes, and no other.

It hangs up on the others, and a client that is told nothing but that sends the same message again for ever.
"""

import socket

from appliance.mqtt.topics import name_mistake
from tests.support.mosquitto_server import MosquittoServer

CONNECT = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"
PUBACK, SECONDS = 0x40, 30.0
NONCHARACTERS = [0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF, 0x1FFFE, 0xFFFFF, 0x10FFFF]
NEIGHBOURS = [0xFDCF, 0xFDF0, 0xFFFD, 0x10000, 0x1FFFD, 0x10FFFD, 0xE000, 0x200B, 0x202E, 0xFEFF, 0xE9, 0x1F600]


def takes(server: MosquittoServer, topic: str) -> bool:
    """Whether the broker acknowledges a QoS 1 message to this topic; else it hangs up."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\x00\x01\x00"
    with (
        socket.create_connection((server.host, server.port), timeout=SECONDS) as stream,
        stream.makefile("rb") as answers,
    ):
        stream.sendall(CONNECT + b"\x32" + bytes([len(body)]) + body)
        while header := answers.read(2):
            if header[0] == PUBACK:
                return True
            answers.read(header[1])
    return False


def test_a_topic_holds_what_mosquitto_takes_and_nothing_else(mosquitto: MosquittoServer) -> None:
    for character in map(chr, [*range(1, 0xA1), *NONCHARACTERS, *NEIGHBOURS]):
        if character in "+#":
            continue
        topic = f"test/characters/{character}"
        assert (name_mistake(topic) is None) is takes(mosquitto, topic), f"U+{ord(character):04X}"

"""Cut a stream of bytes into MQTT packets, whatever its chunks.

mqtt5 tells three things apart: ``IndexError`` is a packet that has not wholly arrived, ``ValueError`` a malformed
one, and a panic of its Rust code is how 0.8 reports text that is not UTF-8. The panic derives from
``BaseException`` and its class cannot be imported, hence the test by name.
"""

from dataclasses import dataclass

import mqtt5
from mqtt5 import DisconnectReasonCode

PROTOCOL_MAX_PACKET = 268_435_460
"""Bytes of the largest packet MQTT can express: 268,435,455 after a fixed header of five (MQTT 5 §2.1.4)."""

_FIXED_HEADER_MAX = 5


@dataclass(frozen=True, slots=True)
class FramingFault:
    """A violation of the peer, with the reason code to answer it."""

    reason_code: DisconnectReasonCode
    detail: str


class Framing:
    """Collects chunks and cuts them into packets; a partial packet waits, at a cost that stays linear.

    ``max_packet_size`` in bytes is what we announced; a larger packet is a fault as soon as its header is here.
    """

    __slots__ = ("_limit", "_partial")

    def __init__(self, max_packet_size: int | None = None) -> None:
        self._limit = max_packet_size or PROTOCOL_MAX_PACKET
        self._partial = bytearray()

    def feed(self, data: bytes) -> tuple[list[mqtt5.Packet], FramingFault | None]:
        """Return the packets completed by this chunk, and the fault that ended the stream, if one did.

        After a fault the stream has no meaning and must not be fed again.
        """
        partial = self._partial
        if partial:
            partial += data
            with memoryview(partial) as view:
                packets, used, fault = self._cut(view)
            del partial[:used]
        else:
            # The usual case: packets are read straight out of the chunk, only a cut-off tail is copied.
            packets, used, fault = self._cut(memoryview(data))
            if used < len(data):
                partial += memoryview(data)[used:]
        if fault is None and partial and _announced_size(partial) > self._limit:
            fault = self._too_large(_announced_size(partial))
        return packets, fault

    def _cut(self, view: memoryview) -> tuple[list[mqtt5.Packet], int, FramingFault | None]:
        """Return the packets at the front of the view, how many bytes they take, and what is wrong behind them."""
        read = mqtt5.read
        limit = self._limit
        packets: list[mqtt5.Packet] = []
        append = packets.append
        used = 0
        end = len(view)
        try:
            while used < end:
                packet, size = read(view[used:])
                if size > limit:
                    return packets, used, self._too_large(size)
                append(packet)
                used += size
        except IndexError:
            pass  # the rest has not arrived yet
        except ValueError as error:
            return packets, used, FramingFault(DisconnectReasonCode.MALFORMED_PACKET, str(error))
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            return packets, used, FramingFault(DisconnectReasonCode.MALFORMED_PACKET, "text that is not UTF-8")
        return packets, used, None

    def _too_large(self, size: int) -> FramingFault:
        detail = f"a packet of {size} bytes, at most {self._limit} are accepted"
        return FramingFault(DisconnectReasonCode.PACKET_TOO_LARGE, detail)


def _announced_size(partial: bytearray) -> int:
    """Return the size of the packet that starts here, from its fixed header; 0 while that is incomplete (§1.5.5)."""
    length = 0
    for index in range(1, min(len(partial), _FIXED_HEADER_MAX)):
        length |= (partial[index] & 0x7F) << (7 * (index - 1))
        if not partial[index] & 0x80:
            return 1 + index + length
    return 0

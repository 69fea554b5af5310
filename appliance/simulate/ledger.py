"""The publisher's ledger: a line of JSON for each acknowledged message, to compare with the database."""

from typing import IO

import msgspec

from appliance.simulate.devices import SimulatedMessage


class SentMessage(msgspec.Struct, frozen=True):
    """An acknowledged message. ``ts``: its own time in milliseconds since 1970; ``refusal``: the reason it is due."""

    topic: str
    ts: int | None
    seq: int
    refusal: str | None


class Ledger:
    """Appends to a file that the caller opens and closes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encode = msgspec.json.Encoder().encode

    def record(self, message: SimulatedMessage) -> None:
        """Append a message."""
        refusal = None if message.refusal is None else message.refusal.value
        self._file.write(self._encode(SentMessage(message.topic, message.ts, message.seq, refusal)) + b"\n")


def read(data: bytes) -> list[SentMessage]:
    """Return the entries of a ledger's content."""
    return [msgspec.json.decode(line, type=SentMessage) for line in data.splitlines()]

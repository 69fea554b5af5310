"""Messages that must not be accepted: one example for each reason that depends on the message alone.

``CATALOGUE`` is in the order of the checks. A device need not be registered in any way for these.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from appliance.reading import Reason

TOO_LARGE_BYTES = 20_000
"""Beyond the default of ``ingest.max_payload_bytes``, 16384."""

LONG_AGO = "2021-03-01T12:00:00Z"
"""After the year before which a clock counts as never set, and older than a retention is likely to be."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The sender of a message: the ids of its topic, a sequence number, and the time in milliseconds since 1970."""

    tenant: str
    device: str
    seq: int
    ts: int

    def topic(self, kind: str = "telemetry") -> str:
        """Return its topic of that kind."""
        return f"tenant/{self.tenant}/device/{self.device}/{kind}"

    def body(self, **keys: object) -> bytes:
        """Return a JSON object with its own ``ts`` and ``seq`` and these keys over them."""
        return json.dumps({"ts": self.ts, "seq": self.seq, **keys}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Example:
    """A reason of refusal, and a message that gets it: topic and payload."""

    reason: Reason
    message: Callable[[Speaker], tuple[str, bytes]]


def _payload(make: Callable[[Speaker], bytes]) -> Callable[[Speaker], tuple[str, bytes]]:
    return lambda speaker: (speaker.topic(), make(speaker))


CATALOGUE: tuple[Example, ...] = (
    Example(Reason.BAD_TOPIC_FORMAT, lambda speaker: (
        f"tenant/{speaker.tenant}/device/aa:bb:cc:00:11:22/telemetry", speaker.body(temperature=21.5))),
    Example(Reason.PAYLOAD_TOO_LARGE, _payload(lambda speaker: speaker.body(note="x" * TOO_LARGE_BYTES))),
    Example(Reason.INVALID_ENCODING, _payload(lambda speaker: speaker.body(note="Gew?chshaus").replace(b"?", b"\xe4"))),
    Example(Reason.INVALID_JSON, _payload(lambda speaker: speaker.body(temperature=21.5)[:-1])),
    Example(Reason.INVALID_JSON, _payload(lambda speaker: b'{"seq":%d,"temperature":NaN}' % speaker.seq)),
    Example(Reason.INVALID_JSON, _payload(lambda speaker: b'{"a":' * 40 + b"%d" % speaker.seq + b"}" * 40)),
    Example(Reason.INVALID_PAYLOAD, _payload(lambda speaker: b"[%d]" % speaker.seq)),
    Example(Reason.INVALID_METRIC, _payload(lambda speaker: speaker.body(metrics={"2nd floor": 21.5}))),
    Example(Reason.INVALID_METRIC, _payload(lambda speaker: speaker.body(temperature=[21.5, 21.6]))),
    Example(Reason.TOO_MANY_METRICS, _payload(
        lambda speaker: speaker.body(**{f"m{number}": number for number in range(65)}))),
    Example(Reason.INVALID_TIMESTAMP, _payload(lambda speaker: speaker.body(ts="yesterday", temperature=21.5))),
    Example(Reason.TENANT_MISMATCH, _payload(lambda speaker: speaker.body(tenant_id=f"not-{speaker.tenant}"[:64]))),
    Example(Reason.DEVICE_MISMATCH, _payload(lambda speaker: speaker.body(device_id=f"not-{speaker.device}"[:64]))),
    Example(Reason.TIMESTAMP_TOO_OLD, _payload(lambda speaker: speaker.body(ts=LONG_AGO, temperature=21.5))),
)  # fmt: skip

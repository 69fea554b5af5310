"""A client whose broker is a script, with a wall clock that stands."""

import trio
from mqtt5 import ConnAckPacket, SubAckReasonCode

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.pump import MAX_READ_DELAY
from tests.support.clock import TrustedClock
from tests.support.mqtt.scripted_broker import ScriptedBroker

GRANTED = SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE
RESUMED = ConnAckPacket(session_present=True)


class StandingClock(TrustedClock):
    """A wall clock that does not go on by itself, so that a busy machine cannot set chunks apart."""

    seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return 0.0


async def gathered() -> None:
    """Let the client read all that was sent; the clock is a mock."""
    await trio.sleep(2 * MAX_READ_DELAY)


def client_of(broker: ScriptedBroker, **options: object) -> Client:
    """Return a client of this broker; its delays are 1, 2, 4 and 8 seconds."""
    options.setdefault("clock", StandingClock())
    options.setdefault("backoff", Backoff(first=1, factor=2, maximum=8, jitter=0))
    return Client(transport=broker, identifier="c", **options)  # type: ignore[arg-type]

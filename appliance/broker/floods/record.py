"""Users who were found to flood the broker: what they did, and for how long they are shut out for it.

Enters: a user and what it did. Leaves: users to shut out; what people are told of it. Never: more than MAX_USERS users
in memory, and nothing across a restart of the process.

Theory. The first time is FIRST_SECONDS long, each further one within MEMORY_SECONDS twice as long as the one before, at
most LONGEST_SECONDS. Their password is refused meanwhile instead of their topics: a device learns that, and keeps what
it has to send, while a denied message would be acknowledged and lost (MQTT 3.1.1).
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

import structlog

from appliance.broker.shut_out import ShutOut
from appliance.clock import Clock
from appliance.metrics import Metrics

FIRST_SECONDS = 300.0
"""Long enough for the broker to be tidied up, short enough for devices that share the user."""
LONGEST_SECONDS = 3600.0
MEMORY_SECONDS = 86_400.0
"""Seconds after which a user is as good as any other again."""
MAX_USERS = 1000

log = structlog.get_logger(__name__)


class FloodCause(StrEnum):
    """What a user did; the values are labels of the metric."""

    RETAINED = "retained"
    """It left retained copies faster than they can be cleared, of devices that are not registered."""
    REFUSED = "refused"
    """So much that it sent was refused that the broker could have dropped messages of others."""


@dataclass(frozen=True, slots=True)
class Flooder:
    """A user that is kept out of the broker for a flood. Times are seconds since 1970."""

    user: str
    cause: FloodCause
    detail: str
    """What it did, in words behind its name: "left retained messages on 3,001 topics ..."."""
    at: float
    until: float
    times: int
    """How often within MEMORY_SECONDS."""

    @property
    def tenant_id(self) -> str:
        """Return the tenant whose user it is."""
        return self.user.partition("/")[0]


class FloodRecord:
    """Who was caught, and until when it is shut out."""

    def __init__(self, shut_out: ShutOut, clock: Clock, metrics: Metrics) -> None:
        self._shut_out = shut_out
        self._clock = clock
        self._metrics = metrics
        self._known: OrderedDict[str, tuple[float, Flooder]] = OrderedDict()
        """User -> monotonic time of the end, and the newest time; the newest user last."""

    def catch(self, user: str, cause: FloodCause, detail: str) -> None:
        """Shut a user out from now on; nothing changes for one that is."""
        if self.is_out(user):
            return
        now, before = self._clock.monotonic(), self._known.pop(user, None)
        recent = before is not None and now - before[0] < MEMORY_SECONDS
        times = before[1].times + 1 if recent and before is not None else 1
        seconds = min(FIRST_SECONDS * 2.0 ** min(times - 1, 10), LONGEST_SECONDS)
        at = self._clock.now()
        self._known[user] = (now + seconds, Flooder(user, cause, detail, at, at + seconds, times))
        if len(self._known) > MAX_USERS:
            self._known.popitem(last=False)
        self._metrics.broker_floods.labels(cause.value).inc()
        log.error("user shut out of the broker", user=user, cause=cause.value, detail=detail, seconds=seconds)
        self._shut_out.add(user, seconds)

    def is_out(self, user: str) -> bool:
        """Return whether a user is shut out now, for whatever it did."""
        return self._shut_out.seconds_left(user) is not None

    def current(self, tenant_id: str | None = None) -> list[Flooder]:
        """Return who is shut out for a flood now, the newest first: all, or the users of one tenant."""
        now = self._clock.monotonic()
        return [one for end, one in reversed(self._known.values()) if end > now and tenant_id in (None, one.tenant_id)]

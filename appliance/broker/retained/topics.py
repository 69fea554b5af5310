"""Topics of which the broker holds a retained copy: which to clear now, and what is outstanding. Pure.

Theory. A message that comes with the retain flag has left a copy in the broker's memory. Its topic is::

    unknown --note--> due --take--> resting --REST_SECONDS--> unknown
                                       |
                                     note
                                       v
                                    noted again --REST_SECONDS--> due

So a device that sets the flag on every reading costs one more message a minute. A topic that finds no room is counted
and not remembered; ``sweep_wanted`` then says that the broker is to be asked for what it holds. Each tenant has a part
of the room only, so that the flood of one takes nothing from the others.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

REST_SECONDS = 60.0
"""Seconds after which a topic is cleared again at the earliest."""
ENTRY_BYTES = 300
"""Bytes that a topic takes in memory beside its text, as measured with CPython 3.11."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of all topics in memory: some 80,000 of the usual length."""
MAX_TENANT_BYTES = 8 * 1024 * 1024
"""Bytes of the topics of one tenant."""


@dataclass(frozen=True, slots=True)
class Retained:
    """A topic and the bytes of the payload that the broker holds of it."""

    topic: str
    size: int

    @property
    def tenant_id(self) -> str:
        """Return the tenant: the ACL lets nobody else publish there."""
        return tenant_of(self.topic)


@dataclass(slots=True)
class Load:
    """What one tenant has left lately."""

    topics: int = 0
    """Its topics in memory, those that rest included: about as many as in the last minute."""
    due: int = 0
    """Bytes of the payloads that are not cleared yet."""


def tenant_of(topic: str) -> str:
    """Return the second level of a topic, ``tenant/{tenant_id}/...``."""
    return topic.split("/", 2)[1] if "/" in topic else ""


class RetainedTopics:
    """The topics, from the message that left a copy to a minute after it was cleared. Times are monotonic seconds."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_tenant_bytes: int = MAX_TENANT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_tenant_bytes = max_tenant_bytes
        self._due: OrderedDict[str, int] = OrderedDict()
        """Topic -> size of its copy, in the order in which they became due."""
        self._resting: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Topic -> until when it rests, and the size of a copy that was left meanwhile (-1: none)."""
        self._bytes: Counter[str] = Counter()
        """Bytes of the topics of each tenant."""
        self._total_bytes = 0
        self._loads: dict[str, Load] = {}
        self.without_room = 0
        """Topics that found no room, since the start."""
        self.sweep_wanted = False
        """Whether there may be copies of which nothing is known here."""

    def __len__(self) -> int:
        """Return the number of topics in memory."""
        return len(self._due) + len(self._resting)

    @property
    def outstanding(self) -> int:
        """Return the number of topics to clear now."""
        return len(self._due)

    @property
    def room(self) -> tuple[int, int]:
        """Return the bytes in use and the most there may be."""
        return self._total_bytes, self._max_bytes

    def note(self, topic: str, size: int) -> bool:
        """Take note of a copy that a message left; return whether its topic is due for the first time."""
        if topic in self._due:
            self._loads[tenant_of(topic)].due += size - self._due[topic]
            self._due[topic] = size  # in its place: one that is sent again and again must not wait behind all others
            return False
        resting = self._resting.get(topic)
        if resting is not None:
            self._resting[topic] = (resting[0], size)
            return False
        tenant, cost = tenant_of(topic), ENTRY_BYTES + len(topic)
        if self._total_bytes + cost > self._max_bytes or self._bytes[tenant] + cost > self._max_tenant_bytes:
            self.without_room += 1
            self.sweep_wanted = True
            return False
        self._total_bytes += cost
        self._bytes[tenant] += cost
        self._loads.setdefault(tenant, Load()).topics += 1
        self._add_due(topic, size)
        return True

    def want_sweep(self) -> None:
        """Note that there may be copies of which nothing is known here."""
        self.sweep_wanted = True

    def take(self, now: float, most: int) -> list[Retained]:
        """Return up to ``most`` topics to clear at ``now``; they rest from now on."""
        self._wake(now)
        taken: list[Retained] = []
        while self._due and len(taken) < most:
            topic = next(iter(self._due))
            size = self._remove_due(topic)
            self._resting[topic] = (now + REST_SECONDS, -1)
            taken.append(Retained(topic, size))
        return taken

    def loads(self) -> Mapping[str, Load]:
        """Return what each tenant has left, without those that have left nothing."""
        return self._loads

    def newest_of(self, tenant_id: str, most: int) -> Sequence[Retained]:
        """Return up to ``most`` topics of one tenant, those that came last first; of one that rests the size is 0."""
        start = f"tenant/{tenant_id}/"
        due = (Retained(topic, size) for topic, size in reversed(self._due.items()) if topic.startswith(start))
        resting = (Retained(topic, 0) for topic in reversed(self._resting) if topic.startswith(start))
        return list(islice(chain(due, resting), most))

    def _wake(self, now: float) -> None:
        """End the rest of those that have rested."""
        while self._resting:
            topic, (until, size) = next(iter(self._resting.items()))
            if until > now:
                return
            del self._resting[topic]
            if size >= 0:
                self._add_due(topic, size)
            else:
                self._forget(topic)

    def _add_due(self, topic: str, size: int) -> None:
        self._due[topic] = size
        self._loads[tenant_of(topic)].due += size

    def _remove_due(self, topic: str) -> int:
        size = self._due.pop(topic)
        self._loads[tenant_of(topic)].due -= size
        return size

    def _forget(self, topic: str) -> None:
        tenant, cost = tenant_of(topic), ENTRY_BYTES + len(topic)
        self._total_bytes -= cost
        self._bytes[tenant] -= cost
        self._loads[tenant].topics -= 1
        if not self._loads[tenant].topics:
            del self._loads[tenant], self._bytes[tenant]

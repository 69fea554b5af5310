"""Which filters we want, what was asked for them, and what the broker holds. No I/O.

Theory. A request is one SUBSCRIBE or UNSUBSCRIBE, and has an answer of its own. Those of callers are sent in the order
of their calls, and again on each connection until they are answered. Only an answer changes what is wanted; what is
wanted is renewed after each connect. The broker acts in the order of the packets ([MQTT-3.8.4-3] replaces a
subscription of the same filter), so the last answer to a filter says what it holds.

| a caller gives up            | SUBSCRIBE                             | UNSUBSCRIBE                    |
|------------------------------|---------------------------------------|--------------------------------|
| before it was sent           | as if never called                    | as if never called             |
| sent, not answered           | undone once it is granted             | goes on by itself              |
| sent, then reconnected       | undone, if the broker kept a session  | goes on by itself              |

To undo is to ask for the subscription that was wanted before, or to end it if there was none. That, and renewals, are
requests of ours, which nobody waits for.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import trio
from mqtt5 import SubAckPacket, SubAckReasonCode, TopicFilter, UnsubAckPacket

from appliance.mqtt.terms import NO_TERMS, Terms, refuses

GROUP = 100
"""Filters that one SUBSCRIBE of ours renews, at most."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One filter, and what it is asked for with."""

    entry: TopicFilter
    terms: Terms


class Request:
    """One SUBSCRIBE or, without ``filters``, UNSUBSCRIBE. ``done``: it was answered, or never will be."""

    __slots__ = ("abandoned", "answer", "done", "filters", "objection", "ours", "patterns", "sent", "terms")

    def __init__(
        self,
        patterns: Sequence[str],
        filters: Sequence[TopicFilter] = (),
        terms: Terms = NO_TERMS,
        *,
        ours: bool = False,
    ) -> None:
        self.patterns = patterns
        self.filters = filters
        self.terms = terms
        self.ours = ours
        self.sent = False  # on any connection
        self.abandoned = False  # by its caller
        self.answer: SubAckPacket | UnsubAckPacket | None = None
        self.objection: ValueError | None = None  # the broker must not be asked
        self.done = trio.Event()


class Subscriptions:
    """See the module's docstring.

    ``renew_kept``: renew also what the broker has granted in a session that it kept, which makes it send retained
    messages again as the filters say.
    """

    def __init__(self, *, renew_kept: bool = True) -> None:
        self._renew_kept = renew_kept
        self._wanted: dict[str, Subscription] = {}
        self._held: dict[str, Subscription] = {}  # by the broker, as far as it said
        self._granted: dict[str, SubAckReasonCode] = {}  # on this connection
        self._asked: dict[int, Request] = {}  # by packet id, in order; on this connection
        self._unsent: deque[Request] = deque()

    @property
    def complete(self) -> bool:
        """Whether the broker granted all that is wanted on this connection, and no caller waits for a grant."""
        if any(request.filters and not request.abandoned for request in self._outstanding()):
            return False
        return all(pattern in self._granted and not refuses(self._granted[pattern]) for pattern in self._wanted)

    # Requests

    def add(self, request: Request) -> None:
        """Add a request, behind all others."""
        self._unsent.append(request)

    def next(self) -> Request | None:
        """Return the request to send next; to be told what became of it."""
        return self._unsent[0] if self._unsent else None

    def sent(self, packet_id: int) -> None:
        """Note that the next request was sent."""
        request = self._unsent.popleft()
        request.sent = True
        self._asked[packet_id] = request

    def impossible(self, objection: ValueError) -> Request | None:
        """Note that the next request is not to be sent to this broker. Return it when nobody is told.

        A renewal of several filters is tried in halves.
        """
        request = self._unsent.popleft()
        if request.ours and len(request.filters) > 1:
            middle = len(request.filters) // 2
            halves = (request.filters[middle:], request.filters[:middle])
            self._unsent.extendleft(_renewal(half, request.terms) for half in halves)
            return None
        request.objection = objection
        request.done.set()
        return request if request.ours or request.abandoned else None

    def abandon(self, request: Request) -> None:
        """Note that nobody waits for a request any more; see the table."""
        request.abandoned = True
        if request not in self._unsent or (request.sent and not request.filters):
            return
        self._unsent.remove(request)
        if request.sent:
            self._hold(request)
            self._restore(request.patterns)

    def close(self) -> None:
        """Wake all waiting callers: no answer will come."""
        for request in self._outstanding():
            request.done.set()

    # What the broker says

    def connected(self, *, session_present: bool) -> None:
        """Start a new connection: renew what is wanted, ask again what was not answered."""
        outstanding = [request for request in self._outstanding() if not request.ours]
        self._asked = {}
        if not session_present:
            self._held = {}
        trusted = {} if self._renew_kept else self._held
        self._granted = {pattern: code for pattern, code in self._granted.items() if pattern in trusted}
        callers = deque[Request]()
        for request in outstanding:
            if not (request.abandoned and request.filters):
                callers.append(request)
            elif session_present:
                self._hold(request)
        ending = {pattern for request in callers for pattern in request.patterns if not request.filters}
        wanted = [
            subscription
            for pattern, subscription in self._wanted.items()
            if pattern not in ending and trusted.get(pattern) != subscription
        ]
        self._unsent = deque(_renewals(wanted))
        self._unsent.extend(callers)
        self._restore([pattern for pattern in self._held if pattern not in self._wanted])

    def granted(self, packet: SubAckPacket) -> list[tuple[str, SubAckReasonCode]]:
        """Take in the answer to a SUBSCRIBE; return the refused filters of ours with their reasons."""
        request = self._answered(packet)
        if request is None:
            return []
        refused = []
        for entry, code in zip(request.filters, packet.reason_codes, strict=False):
            if refuses(code):
                refused.append((entry.pattern, code))
            else:
                self._held[entry.pattern] = Subscription(entry, request.terms)
            if request.ours or not (request.abandoned or refuses(code)):
                self._granted[entry.pattern] = code
                if not request.ours:
                    self._wanted[entry.pattern] = Subscription(entry, request.terms)
        if request.ours:
            return refused
        if request.abandoned or refused:  # what was asked before it may have been abandoned
            self._restore(request.patterns)
        return []

    def removed(self, packet: UnsubAckPacket) -> None:
        """Take in the answer to an UNSUBSCRIBE. One that is refused changes nothing."""
        request = self._answered(packet)
        if request is None:
            return
        for pattern, code in zip(request.patterns, packet.reason_codes, strict=False):
            if request.ours:  # nobody wants it; refused or not, it is not asked again
                self._held.pop(pattern, None)
            elif not refuses(code):
                for known in (self._wanted, self._held, self._granted):
                    known.pop(pattern, None)

    # Inner steps

    def _outstanding(self) -> Iterable[Request]:
        """Yield all requests without an answer, in their order."""
        yield from self._asked.values()
        yield from self._unsent

    def _answered(self, packet: SubAckPacket | UnsubAckPacket) -> Request | None:
        request = self._asked.pop(packet.packet_id, None)
        if request is not None:
            request.answer = packet
            request.done.set()
        return request

    def _hold(self, request: Request) -> None:
        self._held.update((entry.pattern, Subscription(entry, request.terms)) for entry in request.filters)

    def _restore(self, patterns: Iterable[str]) -> None:
        """Ask for what is wanted where the broker holds something else. A request under way decides by itself."""
        busy = {pattern for request in self._outstanding() for pattern in request.patterns}
        for pattern in patterns:
            wanted = self._wanted.get(pattern)
            if pattern in busy or self._held.get(pattern) == wanted:
                continue
            self._unsent.append(
                Request([pattern], ours=True) if wanted is None else _renewal([wanted.entry], wanted.terms)
            )


def _renewals(subscriptions: Sequence[Subscription]) -> Iterable[Request]:
    """Yield as few requests as can be: one for each group of filters with the same terms."""
    for terms, group in groupby(subscriptions, lambda subscription: subscription.terms):
        filters = [subscription.entry for subscription in group]
        for start in range(0, len(filters), GROUP):
            yield _renewal(filters[start : start + GROUP], terms)


def _renewal(filters: Sequence[TopicFilter], terms: Terms) -> Request:
    return Request([entry.pattern for entry in filters], filters, terms, ours=True)

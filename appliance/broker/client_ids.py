"""Which client ids two clients use, and who is shut out because it takes those of others.

Enters: takeovers of connections, as the broker's log tells of them. Leaves: what is told of each, the ids that two
tenants share, and who is shut out. Never: more than MAX_IDS ids in memory, and nothing across a restart of the process.

Theory. One takeover says little: a device whose link broke comes back before the broker has noticed, and is a takeover
of its own connection. Two clients with one id end each other's connection again and again. So takeovers are told of
when they repeat; between users of two tenants from the first, for there is no good reason for one.

| the two users are          | told of                        | shut out                                          |
|----------------------------|--------------------------------|---------------------------------------------------|
| the same                   | after REPEATS within a minute  | never                                             |
| two of one tenant          | after REPEATS within 10 minutes| a device that takes another's user name for its id|
| of two tenants             | from the first                 | the same, and a claim user                        |

Who takes the connection of another whose client id is its user name is shut out for SHUT_OUT_SECONDS, from the third
time within ten minutes that somebody does. The full user name alone decides, never a device id: so a device whose
client id is its user name can neither be kept off by others nor be taken for a thief. The claim user of the same tenant
is not shut out: its other devices would be, too.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.broker.shut_out import ShutOut
from appliance.broker.takeover import Between, SharedClientId, Takeover
from appliance.clock import Clock
from appliance.metrics import Metrics

log = structlog.get_logger(__name__)

REPEATS = 3
"""Takeovers that are no accident any more."""
WITHIN_SECONDS = {Between.SAME_USER: 60.0, Between.SAME_TENANT: 600.0, Between.TENANTS: 600.0}
"""Seconds within which they come. A bad link can end the connection of one device a few times in ten minutes."""
SHUT_OUT_SECONDS = 600.0
"""Seconds for which a thief is not let in: short enough that one who has mended its device need not ask anybody."""
SHARED_SECONDS = 3600.0
"""Seconds for which operators are shown a client id that two tenants use."""
MAX_IDS = 1000
MAX_IDS_OF_USER = 10
"""Client ids kept of those that one user has taken: a flood of invented ones pushes out nobody else's."""


@dataclass(slots=True)
class _Kept:
    """The takeovers of one client id between the same two users."""

    last: Takeover
    at: float
    """Of the last, in seconds since 1970."""
    times: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=REPEATS))
    """Monotonic seconds of the last."""


class ClientIds:
    """Keeps takeovers, and decides who is shut out."""

    def __init__(self, clock: Clock, metrics: Metrics, shut_out: ShutOut) -> None:
        self._shut_out = shut_out
        self._clock = clock
        self._metrics = metrics
        self._kept: OrderedDict[tuple[str, frozenset[str]], _Kept] = OrderedDict()
        self._thefts: OrderedDict[str, deque[float]] = OrderedDict()
        """Monotonic seconds of the last thefts of a client id, whoever the thief was."""

    def note(self, taken: Takeover) -> Sequence[BrokerRefusal]:
        """Take note of a takeover; return what there is to tell of it to each of the two users."""
        if not taken.concerns_devices:
            return ()  # our own session has a secret id and an alert of its own
        self._metrics.client_id_takeovers.labels(taken.between.value).inc()
        kept = self._keep(taken)
        now = self._clock.monotonic()
        kept.recent.append(now)
        if taken.is_theft and self._is_stolen_again(taken.client_id, now) and _may_be_shut_out(taken):
            self._shut(taken)
        if taken.between is Between.TENANTS or _repeated(kept.recent, WITHIN_SECONDS[taken.between]):
            return self._refusals(taken, kept.at)
        return ()

    def shared(self) -> list[SharedClientId]:
        """Return the client ids that users of two tenants have used lately, the newest first."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        found = []
        for kept in reversed(self._kept.values()):
            ago = monotonic - kept.recent[-1]
            if kept.last.between is not Between.TENANTS or ago > SHARED_SECONDS:
                continue
            users = (kept.last.older.user, kept.last.newer.user)
            left = self._shut_out.seconds_left(kept.last.newer.user)
            found.append(
                SharedClientId(
                    kept.last.client_id,
                    users,
                    kept.at,
                    kept.times,
                    _repeated(kept.recent, WITHIN_SECONDS[Between.TENANTS]),
                    None if left is None else now + left,
                )
            )
        return found

    def _keep(self, taken: Takeover) -> _Kept:
        key = (taken.client_id, frozenset((taken.older.user, taken.newer.user)))
        kept = self._kept.get(key)
        if kept is None:
            self._make_room(taken.newer.user)
            kept = self._kept[key] = _Kept(taken, 0.0)
        kept.last, kept.at, kept.times = taken, self._clock.now(), kept.times + 1
        self._kept.move_to_end(key)
        return kept

    def _make_room(self, user: str) -> None:
        own = [key for key, kept in self._kept.items() if kept.last.newer.user == user]
        if len(own) >= MAX_IDS_OF_USER:
            del self._kept[own[0]]
        elif len(self._kept) >= MAX_IDS:
            self._kept.popitem(last=False)

    def _is_stolen_again(self, client_id: str, now: float) -> bool:
        thefts = self._thefts.setdefault(client_id, deque(maxlen=REPEATS))
        self._thefts.move_to_end(client_id)
        if len(self._thefts) > MAX_IDS:
            self._thefts.popitem(last=False)
        thefts.append(now)
        return _repeated(thefts, WITHIN_SECONDS[Between.TENANTS])

    def _shut(self, taken: Takeover) -> None:
        user = taken.newer.user
        log.warning("a client id was stolen: its thief is shut out", user=user, of=taken.older.user)
        self._metrics.client_id_shut_outs.inc()
        self._shut_out.add(user, SHUT_OUT_SECONDS)

    def _refusals(self, taken: Takeover, at: float) -> Sequence[BrokerRefusal]:
        """Return a refusal for each of the two users; the user of another tenant is not named in it."""
        parties = [(taken.older, taken.newer)]
        if taken.between is not Between.SAME_USER:
            parties.append((taken.newer, taken.older))
        return [
            BrokerRefusal(
                RefusalCause.CLIENT_ID,
                at,
                party.address,
                taken.client_id,
                party.user,
                rival=None if taken.between is Between.TENANTS else other.user,
                shut_out=self._shut_out.seconds_left(party.user) is not None,
            )
            for party, other in parties
        ]


def _may_be_shut_out(taken: Takeover) -> bool:
    return not taken.newer.is_claim_user or taken.between is Between.TENANTS


def _repeated(times: deque[float], seconds: float) -> bool:
    return len(times) == REPEATS and times[-1] - times[0] <= seconds

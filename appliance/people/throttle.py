"""Limits wrong sign-ins by network address, by account, and by browser that the account knows.

Theory. An attempt counts when it begins, so that a hundred concurrent ones are a hundred. Ten are free; after that
each wrong one doubles the wait, from half a minute to an hour. A right one does not count. One address adds at most
``SHARE`` to an account's count, so that guessing from one address blocks this address and not the owner elsewhere.
Guessing from many addresses blocks the account for unknown browsers, and its owner still signs in from a known one.

An account is its id. One e-mail address may stand for accounts of several tenants, and a password is tried at all of
them: each keeps counts of its own, so that being right at one takes nothing back at another.

Pure: the time is a parameter. Bounded: counts that are idle for longest are forgotten first.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

FREE = 10
"""Wrong attempts before a wait."""
SHARE = 5
"""Most that one address adds to the count of an account; less than FREE."""
FIRST_WAIT = 30.0
LONGEST_WAIT = 3600.0
"""Shortest and longest wait between attempts, in seconds, once they are no longer free."""
FORGET_AFTER = 86_400.0
"""Seconds without an attempt after which a count starts again at zero."""
MAX_KEYS = 20_000
"""Most counts kept, of all kinds together."""

ThrottleKey = tuple[str, ...]


@dataclass(slots=True)
class _Count:
    attempts: int = 0
    last: float = 0.0
    open_from: float = 0.0
    reported: bool = False


@dataclass(frozen=True, slots=True)
class AttemptSource:
    """The source of an attempt: the account's id, the network address, and the browser if the account knows it."""

    account: str
    """The id; of an address without an account, the address itself."""
    address: str
    browser: bytes | None = None
    """Digest of a browser with which this account has signed in before; None for any other."""


@dataclass(frozen=True, slots=True)
class ThrottleWait:
    """Too many wrong attempts: whole seconds until the next one is possible."""

    seconds: int
    newly: bool = False
    """Whether this is the first refusal since the last attempt that was checked."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one attempt has added at one account."""

    keys: tuple[ThrottleKey, ...]


class Throttle:
    """A bounded number of counts of attempts by key."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._counts: OrderedDict[ThrottleKey, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def begin(self, source: AttemptSource, now: float) -> ThrottleWait | None:
        """Count an attempt at ``now`` (monotonic seconds) and return None, or return the wait before it is possible."""
        (outcome,) = self.begin_each([source], now)
        return outcome if isinstance(outcome, ThrottleWait) else None

    def begin_each(self, sources: Sequence[AttemptSource], now: float) -> list[ThrottleWait | Counted]:
        """Count one attempt at several accounts, which share its network address; those that must wait do not count.

        Returns in the order of ``sources`` what was counted at each, without the count of the network address.
        """
        waits = [self._wait(source, now) for source in sources]
        tried = [source for source, wait in zip(sources, waits, strict=True) if wait is None]
        outcomes: list[ThrottleWait | Counted] = []
        for source, wait in zip(sources, waits, strict=True):
            keys = () if wait is not None else tuple(self._counted(source, now))
            for key in keys:
                self._add(key, now)
            outcomes.append(wait or Counted(keys))
        for key in dict.fromkeys(_address_key(source) for source in tried if source.browser is None):
            self._add(key, now)
        return outcomes

    def take_back(self, counted: Counted) -> None:
        """Take back at one account what an attempt has added there, since it was no guess at it."""
        for key in counted.keys:
            self._take_back(key)

    def succeed(self, source: AttemptSource, *, guess_elsewhere: bool) -> None:
        """Take back a right attempt: it does not count, and the counts of the account from this source start again.

        ``guess_elsewhere``: it was a guess at another account of the address all the same, so the network address keeps
        its count.
        """
        for key in _own_keys(source):
            self._counts.pop(key, None)
        if source.browser is None and not guess_elsewhere:
            self._take_back(_address_key(source))

    def _wait(self, source: AttemptSource, now: float) -> ThrottleWait | None:
        blocked = max((self._fresh(key, now) for key in _deciding_keys(source)), key=lambda count: count.open_from)
        if blocked.open_from <= now:
            return None
        newly, blocked.reported = not blocked.reported, True
        return ThrottleWait(math.ceil(blocked.open_from - now), newly)

    def _counted(self, source: AttemptSource, now: float) -> Iterator[ThrottleKey]:
        """Yield the counts of the account that an attempt adds to."""
        if source.browser is not None:
            yield _browser_key(source)
            return
        pair = _pair_key(source)
        if self._fresh(pair, now).attempts < SHARE:
            yield pair
            yield _account_key(source)

    def _fresh(self, key: ThrottleKey, now: float) -> _Count:
        count = self._counts.get(key)
        return _Count() if count is None or now - count.last > FORGET_AFTER else count

    def _add(self, key: ThrottleKey, now: float) -> None:
        count = self._fresh(key, now)
        count.attempts += 1
        count.last, count.reported = now, False
        over = count.attempts - FREE
        if over >= 0:
            count.open_from = now + min(FIRST_WAIT * 2.0 ** min(over, 32), LONGEST_WAIT)
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > self._max_keys:
            self._counts.popitem(last=False)

    def _take_back(self, key: ThrottleKey) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.attempts -= 1
            count.open_from = 0.0  # the wait was over before this attempt, else it had been refused


class PasswordsBeside:
    """Remembers which password of one account was tried at which other account of the same address."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._seen: OrderedDict[tuple[UUID, UUID], str] = OrderedDict()

    def seen(self, account: UUID, beside: UUID, proof: str) -> bool:
        """Return whether the present password of ``beside``, known by its hash ``proof``, was tried at ``account``."""
        before = self._seen.pop((account, beside), None)
        self._seen[account, beside] = proof
        while len(self._seen) > self._max_keys:
            self._seen.popitem(last=False)
        return before == proof


def _deciding_keys(source: AttemptSource) -> Iterator[ThrottleKey]:
    """Return the counts that decide whether this source must wait."""
    if source.browser is not None:
        yield _browser_key(source)
    else:
        yield _address_key(source)
        yield _account_key(source)


def _own_keys(source: AttemptSource) -> Iterator[ThrottleKey]:
    yield _account_key(source)
    yield _pair_key(source)
    if source.browser is not None:
        yield _browser_key(source)


def _browser_key(source: AttemptSource) -> ThrottleKey:
    return ("browser", source.account, (source.browser or b"").hex())


def _account_key(source: AttemptSource) -> ThrottleKey:
    return ("account", source.account)


def _address_key(source: AttemptSource) -> ThrottleKey:
    return ("address", _network(source.address))


def _pair_key(source: AttemptSource) -> ThrottleKey:
    return ("pair", source.account, _network(source.address))


def _network(address: str) -> str:
    """Return the network that counts as one address: with IPv6 a customer has a /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

"""How fast wrong sign-ins may follow one another: by address, by account, and by browser that the account knows.

Theory. A try counts when it begins, so that a hundred at once are a hundred. Ten are free; after that each wrong one
doubles the wait, from half a minute to an hour. A right one takes its count back. One address adds at most
``SHARE`` to an account's count, so whoever guesses from one place shuts that place out, not the owner elsewhere;
whoever guesses from many places shuts the account for strangers, and its owner still comes in from a browser it knows.

Pure: the time is a parameter. Bounded: of each kind the longest quiet counts are forgotten first.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

FREE = 10
"""Wrong tries before anybody waits."""
SHARE = 5
"""What one address adds to an account's count at most: less than FREE."""
FIRST_WAIT = 30.0
LONGEST_WAIT = 3600.0
"""Seconds between tries, once they are not free any more."""
FORGET_AFTER = 86_400.0
"""Seconds of quiet after which a count begins anew."""
MAX_KEYS = 20_000
"""Counts kept, of all kinds together."""

ThrottleKey = tuple[str, ...]


@dataclass(slots=True)
class _Count:
    tries: int = 0
    last: float = 0.0
    open_from: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class AttemptSource:
    """Who tries: the account as typed, the address, and whether the account knows the browser."""

    account: str
    address: str
    browser: bytes | None = None
    """Of a browser from which this account has signed in before; None for any other."""


@dataclass(frozen=True, slots=True)
class ThrottleWait:
    """Too many wrong tries: whole seconds until the next one may be made."""

    seconds: int
    newly: bool = False
    """Whether this is the first refusal since the last try."""


class Throttle:
    """Counts of tries by key, bounded."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._counts: OrderedDict[ThrottleKey, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def begin(self, source: AttemptSource, now: float) -> ThrottleWait | None:
        """Count a try at ``now`` (monotonic seconds), or say how long to wait first."""
        shut = max((self._fresh(key, now) for key in _asked(source)), key=lambda count: count.open_from)
        if shut.open_from > now:
            newly, shut.told = not shut.told, True
            return ThrottleWait(math.ceil(shut.open_from - now), newly)
        for key in self._counted(source, now):
            self._add(key, now)
        return None

    def right(self, source: AttemptSource) -> None:
        """The try was right: it does not count, and the account begins anew from here."""
        for key in _own(source):
            self._counts.pop(key, None)
        if source.browser is None:
            self._take_back(_address_key(source))

    def _counted(self, source: AttemptSource, now: float) -> Iterator[ThrottleKey]:
        if source.browser is not None:
            yield from _asked(source)
            return
        yield _address_key(source)
        pair = _pair_key(source)
        if self._fresh(pair, now).tries < SHARE:
            yield pair
            yield _account_key(source)

    def _fresh(self, key: ThrottleKey, now: float) -> _Count:
        count = self._counts.get(key)
        return _Count() if count is None or now - count.last > FORGET_AFTER else count

    def _add(self, key: ThrottleKey, now: float) -> None:
        count = self._fresh(key, now)
        count.tries += 1
        count.last, count.told = now, False
        over = count.tries - FREE
        if over >= 0:
            count.open_from = now + min(FIRST_WAIT * 2.0 ** min(over, 32), LONGEST_WAIT)
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > self._max_keys:
            self._counts.popitem(last=False)

    def _take_back(self, key: ThrottleKey) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.tries -= 1
            count.open_from = 0.0  # the wait before this try was over, or it had not been let in


def _asked(source: AttemptSource) -> Iterator[ThrottleKey]:
    """The counts that decide whether this source may try."""
    if source.browser is not None:
        yield _browser_key(source)
    else:
        yield _address_key(source)
        yield _account_key(source)


def _own(source: AttemptSource) -> Iterator[ThrottleKey]:
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
    """Whom an address stands for: with IPv6 a customer has a /64, not one address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

"""Token buckets, and a table that holds very many of them without long pauses.

A bucket is one number, ``full_at``: the instant at which it is full if nothing more is taken (the generic cell rate
algorithm, ITU-T I.371). Taking a token moves that instant one ``interval`` into the future; a token is there as long as
the instant stays within ``capacity`` of now. So a bucket whose ``full_at`` has passed is the same as none at all, and
may be forgotten at any time. Instants and spans are whole nanoseconds: the arithmetic is exact, nothing drifts.

The allowance beside it (the excess bucket of RFC 2697) takes what a full bucket cannot hold. It is one more number,
``lent``: the time by which bucket and allowance together are full later than the bucket alone. A token of the bucket
moves both instants, so ``lent`` stays; a token of the allowance moves only the later one by an interval; time in which
the bucket is full pays ``lent`` back. So the allowance needs no timer either, and what is there of both together is the
same whichever of the two is asked first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

SECOND = 1_000_000_000
"""Nanoseconds in a second."""

SLOWEST = 1 << 62
"""Nanoseconds a token takes at most, 146 years: whatever is slower is as slow."""

DELAYED = 10 * SECOND
"""The age, in nanoseconds, from which a message with its own time counts as delayed by its device or the link."""

LEAST_DELAYED = SECOND
"""Below this age no message counts as delayed: clocks differ by as much, and a live flood must find its limit."""

NOT_READ = -1
"""``lent`` of a bucket whose allowance is not known, or which has none: none is there."""

NEVER = -(1 << 62)
"""Before any instant, in nanoseconds."""

LOAD = 2
"""Buckets in a chain on average, at most, when a table is at its bound."""

ARENA_BITS = 20
"""Python allocates small objects in arenas of this size (CPython, Objects/obmalloc.c) and hands one back to the system
as soon as it is empty, which takes a fraction of a millisecond."""

PROBES = 16
"""Buckets that may be looked at for one to forget, for each new id that finds the table at its bound."""

SAVED_PROBES = 2048
"""Looks not needed are saved for later, so many at most: a fraction of a millisecond for a single id."""

RENEWAL = 10
"""Renewing a bucket takes about as long as looking at so many."""


class BucketLimits(msgspec.Struct, frozen=True, gc=False):
    """Limits in the form that a bucket computes with. Shared by all buckets that have the same.

    ``interval`` is the time a token takes, rounded down to a nanosecond: never less than the rate that was promised.
    ``capacity`` is the time in which an empty bucket becomes full, ``depth`` the same of its allowance (0: it has
    none). ``delayed_after`` is the age from which a message draws on the allowance: DELAYED, or less where a full
    bucket does not hold what the device sends in that time: the youngest part of a backlog would find no token.
    ``version`` tells whether the limits have changed since.
    """

    rate: float
    burst: int
    interval: int
    capacity: int
    depth: int
    delayed_after: int
    tenant_limited: bool
    version: int


def bucket_limits(
    rate: float, burst: int, *, depth: int = 0, tenant_limited: bool = False, version: int = 0
) -> BucketLimits:
    """Return the limits of ``rate`` tokens a second, at most ``burst`` at once."""
    interval = max(1, int(min(SECOND / rate, SLOWEST)))
    delayed_after = max(LEAST_DELAYED, min(DELAYED, (burst - 1) * interval))
    return BucketLimits(rate, burst, interval, burst * interval, depth, delayed_after, tenant_limited, version)


class Bucket(msgspec.Struct, gc=False):
    """One token bucket with its allowance, and its place in a ``BucketTable``.

    ``noted`` is the latest instant that was noted to be kept elsewhere. After a limit was raised it may be later than
    ``total_full_at``, since of two notes the later one is kept.

    Structs with ``gc=False`` and keys of plain text keep the cyclic collector from walking over a million buckets,
    which would stop everything for a tenth of a second.
    """

    key: str
    limits: BucketLimits
    full_at: int
    lent: int = NOT_READ
    noted: int = NEVER
    next: "Bucket | None" = None

    def take(self, tick: int, floor: int) -> bool:
        """Spend one token at ``tick``; return False, with nothing spent, when there is none.

        ``floor`` is the instant at which a bucket nobody used became full: ``tick``, or earlier under backlog credit.
        """
        limits = self.limits
        spent = self.full_at
        if spent < floor:
            if self.lent > 0:
                self.overflow(floor)
            spent = floor
        spent += limits.interval
        if spent > tick + limits.capacity:
            return False
        self.full_at = spent
        return True

    def overflow(self, floor: int) -> None:
        """Let what the bucket could not hold since it was full flow into the allowance."""
        spare = floor - self.full_at
        if spare > 0:
            self.full_at = floor
            if self.lent > 0:
                self.lent = max(0, self.lent - spare)

    def read(self, full_in: int) -> None:
        """Take over the level of the allowance: both are full ``full_in`` nanoseconds later than a full bucket."""
        self.lent = min(max(0, full_in), self.limits.depth)

    def left(self, floor: int) -> int:
        """Return what the allowance holds, in nanoseconds: ``interval`` is one token."""
        if self.lent < 0:
            return 0
        return self.limits.depth - max(0, self.lent - max(0, floor - self.full_at))

    def draw(self, floor: int) -> None:
        """Spend one token: what the allowance has of it, and the rest of the bucket. Ask ``wait_delayed`` before."""
        interval = self.limits.interval
        lent = min(self.left(floor), interval)
        self.overflow(floor)
        self.full_at += interval - lent
        self.lent += lent

    def shift(self, floor: int) -> None:
        """Charge a token that was taken from the bucket to the allowance instead, as far as that has one."""
        lent = min(self.left(floor), self.limits.interval)
        if lent > 0:
            self.overflow(floor)
            self.full_at -= lent
            self.lent += lent

    def total_full_at(self) -> int:
        """Return the instant at which bucket and allowance are both full."""
        return self.full_at + max(0, self.lent)

    def forgettable(self, floor: int) -> bool:
        """Return whether nothing is lost with it: it is full, and its allowance is full or kept elsewhere.

        An allowance that is kept elsewhere as emptier than it is stays here until that no longer matters.
        """
        if self.full_at > floor:
            return False
        total = self.full_at + self.lent
        return total == self.noted or (total <= floor and self.noted <= floor)

    def tokens(self, tick: int, floor: int) -> float:
        """Return the number of tokens at ``tick``."""
        return self._held(tick, floor) / self.limits.interval

    def wait(self, tick: int, floor: int, tokens: int = 1) -> int:
        """Return the nanoseconds from ``tick`` until there are so many tokens; 0 when they are there."""
        return max(0, tokens * self.limits.interval - self._held(tick, floor))

    def wait_delayed(self, tick: int, floor: int, tokens: int = 1) -> int:
        """Return the same of bucket and allowance together, of which delayed messages are paid."""
        return max(0, tokens * self.limits.interval - self._held(tick, floor) - self.left(floor))

    def _held(self, tick: int, floor: int) -> int:
        return self.limits.capacity + tick - max(self.full_at, floor)

    def adopt(self, changed: BucketLimits, since: int) -> None:
        """Continue under other limits, which hold since the instant ``since``.

        What was spent of the burst stays spent, token for token (rounded against the device, by less than a
        nanosecond). Credit and allowance are spans of time, and what was spent of them stays so much time at any rate:
        counted in tokens, a device would owe hours after a limit was lowered, though it kept to each limit in its
        time. So a full bucket stays full, as one that had been forgotten would be, and the allowance is what it would
        be after a restart.
        """
        owed = self.full_at - since
        if owed > 0:
            self.full_at = since - (-owed * changed.interval // self.limits.interval)
        self.limits = changed


@dataclass(frozen=True, slots=True)
class Sweep:
    """The buckets cleared by one slice of a sweep, and whether it was the last slice of its pass."""

    cleared: int
    done: bool


class BucketTable:
    """Buckets by key, at most ``bound`` of them: a hash table with chains, of which no single step takes long.

    A dict would not do for a million: it stops everything for tens of milliseconds when it grows, and when it goes.
    Here nothing is ever copied, and there is nothing in memory but small objects, which are freed in the order in which
    they lie there.

    The bound is the caller's to keep: ask ``has_room`` before ``add``. Before anything is concluded from a bucket whose
    limits are not of ``version``, it is handed to ``renew``, which makes it adopt the limits of its key.
    """

    __slots__ = ("_bound", "_graves", "_hand", "_probes", "_renew", "_swept", "heads", "mask", "size", "version")

    def __init__(self, bound: int, renew: Callable[[Bucket], None]) -> None:
        count = 1 << (bound // LOAD).bit_length()
        self.heads: list[Bucket | None] = [None] * count
        self.mask = count - 1
        self.size = 0
        self.version = 0
        self._bound = bound
        self._renew = renew
        self._hand = 0
        self._probes = SAVED_PROBES
        self._swept = 0
        self._graves: dict[int, Bucket] = {}

    def get(self, key: str) -> Bucket | None:
        """Return the bucket of ``key``, under the limits in force."""
        bucket = self.heads[hash(key) & self.mask]
        while bucket is not None and bucket.key != key:
            bucket = bucket.next
        if bucket is not None and bucket.limits.version != self.version:
            self._renew(bucket)
        return bucket

    def add(self, bucket: Bucket) -> None:
        """Add a bucket whose key has none yet."""
        index = hash(bucket.key) & self.mask
        bucket.next = self.heads[index]
        self.heads[index] = bucket
        self.size += 1

    def at_bound(self) -> bool:
        """Return whether another bucket fits only if one is removed."""
        return self.size >= self._bound

    def has_room(self, floor: int) -> bool:
        """Return whether one more bucket fits, if need be after removing one that is forgettable at ``floor``.

        A hand goes round the table and looks at a few buckets a call, so the work is bounded whatever the size. Among
        very many that are not full it can miss one that it has not come to yet; it comes to every one in time.
        """
        if self.size < self._bound:
            return True
        self._probes = min(self._probes + PROBES, SAVED_PROBES)
        while self._probes > 0:
            chain = self._chain(self._hand)
            self._probes -= 1 + self._refresh(chain)
            for bucket in chain:
                if bucket.forgettable(floor):
                    self._unlink(self._hand, bucket)
                    return True
            self._hand = (self._hand + 1) & self.mask
        return False

    def sweep(self, idle_since: int, floor: int, budget: int) -> Sweep:
        """Clear buckets that are idle since ``idle_since`` or longer and forgettable at ``floor``.

        Looks at about ``budget`` buckets and goes on from there at the next call; takes may come between. What is
        cleared counts at once, but is freed after the last chain, an arena at a time: freed as they are found, the
        buckets would empty nearly all arenas in the last slices, and stop everything for long.
        """
        cleared = looked = 0
        while looked < budget and self._swept < len(self.heads):
            looked += 1
            if self.heads[self._swept] is not None:
                chain = self._chain(self._swept)
                looked += self._refresh(chain)
                cleared += self._clear(self._swept, chain, idle_since, floor)
            self._swept += 1
        swept = self._swept == len(self.heads)
        if swept:
            self._free(budget - looked)
        done = swept and not self._graves
        if done:
            self._swept = 0
        return Sweep(cleared, done)

    def _chain(self, index: int) -> list[Bucket]:
        chain = []
        bucket = self.heads[index]
        while bucket is not None:
            chain.append(bucket)
            bucket = bucket.next
        return chain

    def _refresh(self, chain: list[Bucket]) -> int:
        """Renew the buckets that need it; return the number of buckets that could be examined in that time."""
        stale = [bucket for bucket in chain if bucket.limits.version != self.version]
        for bucket in stale:
            self._renew(bucket)
        return len(chain) + RENEWAL * len(stale)

    def _clear(self, index: int, chain: list[Bucket], idle_since: int, floor: int) -> int:
        cleared = 0
        for bucket in chain:
            # The last token was taken one interval before `full_at` at the latest. (Under backlog credit perhaps later,
            # but full is full: then it goes sooner, and nothing is lost.)
            if bucket.full_at - bucket.limits.interval <= idle_since and bucket.forgettable(floor):
                self._unlink(index, bucket)
                arena = id(bucket) >> ARENA_BITS
                bucket.next = self._graves.get(arena)
                self._graves[arena] = bucket
                cleared += 1
        return cleared

    def _unlink(self, index: int, gone: Bucket) -> None:
        before = self.heads[index]
        if before is gone:
            self.heads[index] = gone.next
        else:
            while before is not None and before.next is not gone:
                before = before.next
            if before is not None:
                before.next = gone.next
        self.size -= 1

    def _free(self, budget: int) -> None:
        """Free about ``budget`` cleared buckets one by one: a whole chain at once would be freed recursively."""
        while self._graves and budget > 0:
            arena = next(iter(self._graves))
            rest: Bucket | None = self._graves.pop(arena)
            while rest is not None and budget > 0:
                rest = rest.next
                budget -= 1
            if rest is not None:
                self._graves[arena] = rest

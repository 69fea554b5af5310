"""Token buckets, and the table that keeps very many of them without ever stopping for long.

A bucket is one number, ``full_at``: the instant at which it is full if nothing more is taken (the generic cell rate
algorithm, ITU-T I.371). Taking a token moves that instant one ``interval`` into the future; a token is there as long as
the instant stays within ``capacity`` of now. So a bucket whose ``full_at`` has passed is the same as none at all, and
may be forgotten at any time. Instants and spans are whole nanoseconds: the arithmetic is exact, nothing drifts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

SECOND = 1_000_000_000
"""Nanoseconds in a second."""

SHARD_SIZE = 1024
"""Buckets in a shard when the table is at its bound, more or less: a fraction of a millisecond of work."""

PROBES = 16
"""Buckets that may be looked at for one to forget, for each new id that finds the table at its bound."""

SAVED_PROBES = 2 * SHARD_SIZE
"""Looks not needed are saved for later, so many at most: a fraction of a millisecond for a single id."""

RENEWAL = 10
"""Renewing a bucket takes about as long as looking at so many."""


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """Limits as a bucket reckons with them. Shared by all buckets that have the same.

    ``interval`` is the time a token takes, rounded down to a nanosecond: never less than the rate that was promised.
    ``version`` tells whether the limits have changed since.
    """

    rate: float
    burst: int
    interval: int
    capacity: int
    tenant_limited: bool
    version: int


def allowance(rate: float, burst: int, *, tenant_limited: bool = False, version: int = 0) -> Allowance:
    """``rate`` tokens a second, at most ``burst`` at once."""
    interval = max(1, int(SECOND / rate))
    return Allowance(rate, burst, interval, burst * interval, tenant_limited, version)


class Bucket(msgspec.Struct, gc=False):
    """One token bucket. Structs with ``gc=False`` and keys of plain text keep the cyclic collector from walking over a
    million buckets, which would stop everything for a tenth of a second.
    """

    allowance: Allowance
    full_at: int

    def take(self, tick: int, floor: int) -> bool:
        """Spend one token at ``tick``; False, and nothing spent, when there is none.

        ``floor`` is the instant at which a bucket nobody used became full: ``tick``, or earlier under backlog credit.
        """
        limits = self.allowance
        spent = self.full_at
        if spent < floor:
            spent = floor
        spent += limits.interval
        if spent > tick + limits.capacity:
            return False
        self.full_at = spent
        return True

    def tokens(self, tick: int, floor: int) -> float:
        """How many tokens there are at ``tick``."""
        return (self.allowance.capacity + tick - max(self.full_at, floor)) / self.allowance.interval

    def wait(self, tick: int, floor: int) -> int:
        """Nanoseconds from ``tick`` until a token is there; 0 when one is."""
        spent = max(self.full_at, floor) + self.allowance.interval
        return max(0, spent - self.allowance.capacity - tick)

    def adopt(self, changed: Allowance, floor: int) -> None:
        """Go on under other limits, which hold since ``floor`` was the floor.

        What was spent stays spent, token for token (rounded against the device, by less than a nanosecond); so a full
        bucket stays full, as one that had been forgotten would be.
        """
        owed = self.full_at - floor
        if owed > 0:
            self.full_at = floor - (-owed * changed.interval // self.allowance.interval)
        self.allowance = changed


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one slice of a sweep did, and whether it was the last of its pass."""

    cleared: int
    done: bool


class BucketTable:
    """Buckets by key, at most ``bound`` of them, in shards so small that growing, sweeping or freeing one is short.

    The bound is the caller's to keep: ask ``has_room`` before ``add``. Before anything is concluded from a bucket whose
    allowance is not of ``version``, it is handed to ``renew``, which makes it adopt the limits of its key.
    """

    __slots__ = ("_bound", "_hand", "_hand_shard", "_probes", "_renew", "_swept", "mask", "shards", "size", "version")

    def __init__(self, bound: int, renew: Callable[[str, Bucket], None]) -> None:
        count = 1 << (bound // SHARD_SIZE).bit_length()
        self.shards: list[dict[str, Bucket]] = [{} for _ in range(count)]
        self.mask = count - 1
        self.size = 0
        self.version = 0
        self._bound = bound
        self._renew = renew
        self._hand: Iterator[str] = iter(())
        self._hand_shard = 0
        self._probes = SAVED_PROBES
        self._swept = 0

    def get(self, key: str) -> Bucket | None:
        """The bucket of ``key``, under the limits in force."""
        bucket = self.shards[hash(key) & self.mask].get(key)
        if bucket is not None and bucket.allowance.version != self.version:
            self._renew(key, bucket)
        return bucket

    def add(self, key: str, bucket: Bucket) -> None:
        """Keep ``bucket`` under ``key``, which has none yet."""
        self.shards[hash(key) & self.mask][key] = bucket
        self.size += 1

    def at_bound(self) -> bool:
        """Whether another bucket fits only if one is forgotten."""
        return self.size >= self._bound

    def has_room(self, floor: int) -> bool:
        """Whether one more bucket fits, if need be after forgetting one that is full at ``floor``.

        A hand goes round the table and looks at a few buckets a call, so the work is bounded whatever the size. Among
        very many that are not full it can miss one that it has not come to yet; it comes to every one in time.
        """
        if self.size < self._bound:
            return True
        self._probes = min(self._probes + PROBES, SAVED_PROBES)
        while self._probes > 0:
            self._probes -= 1
            key = next(self._hand, None)
            if key is None:
                # A list of the keys, since the shard changes before the hand is through with it.
                self._hand_shard = (self._hand_shard + 1) & self.mask
                self._hand = iter(list(self.shards[self._hand_shard]))
                continue
            bucket = self.get(key)
            if bucket is not None and bucket.full_at <= floor:
                del self.shards[self._hand_shard][key]
                self.size -= 1
                return True
        return False

    def sweep(self, idle_since: int, floor: int, budget: int) -> Sweep:
        """Clear buckets that are idle since ``idle_since`` or longer and full at ``floor``.

        Looks at ``budget`` buckets, rounded up to whole shards, and goes on from there at the next call; takes may
        come between. One that has to be renewed counts for several.
        """
        cleared = looked = 0
        while looked < budget and self._swept < len(self.shards):
            looked += len(self.shards[self._swept]) + self._renew_shard(self._swept)
            cleared += self._clear_shard(self._swept, idle_since, floor)
            self._swept += 1
        self.size -= cleared
        done = self._swept == len(self.shards)
        if done:
            self._swept = 0
            # The keys in hand lie scattered over all memory; a few forgotten ones would keep most of it from going back.
            self._hand = iter(())
        return Sweep(cleared, done)

    def _renew_shard(self, index: int) -> int:
        """Renew what needs it, and say how much else could have been looked at in that time."""
        stale = [item for item in self.shards[index].items() if item[1].allowance.version != self.version]
        for key, bucket in stale:
            self._renew(key, bucket)
        return RENEWAL * len(stale)

    def _clear_shard(self, index: int, idle_since: int, floor: int) -> int:
        shard = self.shards[index]
        # The last token was taken one interval before `full_at` at the latest. (Under backlog credit perhaps later, but
        # full is full: then it goes sooner, and nothing is lost.)
        kept = {
            key: bucket
            for key, bucket in shard.items()
            if bucket.full_at > floor or bucket.full_at - bucket.allowance.interval > idle_since
        }
        cleared = len(shard) - len(kept)
        if cleared:  # the new dict, because one that only loses items gives no memory back
            self.shards[index] = kept
        return cleared

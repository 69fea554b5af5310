"""How often a caller of the JSON API may ask: a token bucket for each API token and each session.

Enters: hashes of the secrets of callers that were identified. Leaves: whether one more request passes, and what the
headers of its answer say. Never: a bucket for a secret that nobody has, or more than MOST_CALLERS of them.

Ingest over HTTP has the limits of devices instead, and pages have none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.clock import Clock
from appliance.ingest.limits.bucket import SECOND, Bucket, bucket_limits

MINUTE = 60
"""Seconds."""
MOST_CALLERS = 10_000
"""Buckets that are kept; past it that of the longest silent caller goes, which is full after half a minute anyway."""
POLICY = "api"
"""The name of the limit in the headers."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits of one caller."""

    per_minute: int
    burst: int
    """Requests at once, after a time of silence."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller has left of its limit."""

    passes: bool
    remaining: int
    """Requests that pass at once."""
    reset: int
    """Whole seconds until all of the burst passes again."""
    wait: int
    """Whole seconds until the next request passes; 0 if one does now."""


class CallRates:
    """The buckets of the callers."""

    def __init__(self, limits: CallLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._bucket_limits = bucket_limits(limits.per_minute / MINUTE, limits.burst)
        self._buckets: dict[bytes, Bucket] = {}  # longest silent first

    def refused(self, caller: bytes) -> Quota | None:
        """Return the quota of a caller that must wait, without counting a request; None if one may pass."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            return None
        quota = self._quota(bucket, self._tick(), passes=False)
        return quota if quota.wait else None

    def take(self, caller: bytes) -> Quota:
        """Count a request of an identified caller."""
        bucket = self._buckets.pop(caller, None)
        tick = self._tick()
        if bucket is None:
            bucket = Bucket("", self._bucket_limits, tick)
            if len(self._buckets) >= MOST_CALLERS:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        return self._quota(bucket, tick, passes=bucket.take(tick, tick))

    def headers(self, quota: Quota) -> Mapping[str, str]:
        """Return the headers of an answer: those of the present draft, and the older ones that clients know.

        draft-ietf-httpapi-ratelimit-headers-11 has RateLimit-Policy and RateLimit; up to -06 there were three fields.
        """
        limits = self.limits
        headers = {
            "RateLimit-Policy": f'"{POLICY}";q={limits.per_minute};w={MINUTE}',
            "RateLimit": f'"{POLICY}";r={quota.remaining};t={quota.reset}',
            "RateLimit-Limit": str(limits.burst),
            "RateLimit-Remaining": str(quota.remaining),
            "RateLimit-Reset": str(quota.reset),
        }
        return headers if quota.passes else {**headers, "Retry-After": str(quota.wait)}

    def _tick(self) -> int:
        return int(self._clock.monotonic() * SECOND)

    def _quota(self, bucket: Bucket, tick: int, *, passes: bool) -> Quota:
        return Quota(
            passes=passes,
            remaining=math.floor(bucket.tokens(tick, tick)),
            reset=math.ceil(max(0, bucket.full_at - tick) / SECOND),
            wait=math.ceil(bucket.wait(tick, tick) / SECOND),
        )

"""A limiter with the limits that the configuration has when nobody says otherwise."""

from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import AllowanceLookup, BucketOverride, NotedAllowance, OverrideLookup


def no_override(_tenant_id: str, _device_id: str | None) -> BucketOverride | None:
    """Return None: the database sets nothing."""
    return None


def no_allowance(_tenant_id: str, _device_id: str | None) -> NotedAllowance | None:
    """Return None: nothing is in memory."""
    return None


def limiter_of(
    *,
    rate: float = 10,
    burst: int = 50,
    tenant_rate: float = 0,
    bucket_ttl: float = 3600,
    max_tracked_devices: int = 200_000,
    overrides: OverrideLookup = no_override,
    backlog: float = 0,
    allowances: AllowanceLookup = no_allowance,
) -> Limiter:
    """Return a limiter; a test names the limits that it is about."""
    return Limiter(
        rate=rate,
        burst=burst,
        tenant_rate=tenant_rate,
        bucket_ttl=bucket_ttl,
        max_tracked_devices=max_tracked_devices,
        overrides=overrides,
        backlog=backlog,
        allowances=allowances,
    )

"""Microseconds since 1970 UTC as the times of rows."""

from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
"""Microseconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """Return an instant, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=microseconds)

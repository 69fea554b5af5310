"""The one place where "no such row" becomes ``NotFound``.

Under row-level security, and with the tenant in every WHERE, a row of another tenant and a row that was never there
give the same count: none.
"""

from typing import TypeVar

from appliance.errors import NotFound

T = TypeVar("T")


def require(row: T | None, what: str) -> T:
    """Return the row of ``what`` (as text for people). Raises NotFound when there is none."""
    if row is None:
        raise NotFound(f"There is no {what}.")
    return row


def require_rows(count: int, what: str) -> int:
    """Return the number of rows that an UPDATE or DELETE of ``what`` reached. Raises NotFound if it is 0."""
    require(count or None, what)
    return count

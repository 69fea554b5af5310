"""What the pages and the API of tenants need from the rest of the process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from appliance.offboarding.kept_copies import KeptCopy


@dataclass(frozen=True, slots=True)
class TenantsPort:
    """The port of tenants."""

    kept_copies: Callable[[], Awaitable[Sequence[KeptCopy] | None]]
    """The copies of the database that this appliance keeps, the oldest first; None: they cannot be read now."""

"""One client that ended the connection of another by its client id, and whose id that is. Pure.

MQTT gives a client id to whoever comes last: the broker ends the older connection. Mosquitto binds ids to users only
for a whole listener (``broker.bind_client_ids``), so what clients choose is judged by what their users are called.
"""

from dataclasses import dataclass
from enum import StrEnum

from appliance.broker.accounts import PRIVATE_USER, PROBE_USER


@dataclass(frozen=True, slots=True)
class Party:
    """A connected client: its user, and the address that it came from without its port."""

    user: str
    address: str

    @property
    def tenant_id(self) -> str:
        """The tenant of the user."""
        return self.user.partition("/")[0]

    @property
    def is_claim_user(self) -> bool:
        """Return whether it came in as the claim user of its tenant, which many devices may share."""
        return "/" not in self.user


class Between(StrEnum):
    """How the users of the two clients are related; the values are labels of the metric."""

    SAME_USER = "same_user"
    SAME_TENANT = "same_tenant"
    """Two users of one tenant."""
    TENANTS = "tenants"
    """Users of two tenants."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """``newer`` has connected with ``client_id``, and so the broker has closed the connection of ``older``."""

    client_id: str
    older: Party
    newer: Party

    @property
    def concerns_devices(self) -> bool:
        """Return whether both are clients of devices, and none is one of the appliance's own."""
        return not {self.older.user, self.newer.user} & {PRIVATE_USER, PROBE_USER}

    @property
    def between(self) -> Between:
        """How the two users are related."""
        if self.older.user == self.newer.user:
            return Between.SAME_USER
        return Between.SAME_TENANT if self.older.tenant_id == self.newer.tenant_id else Between.TENANTS

    @property
    def is_theft(self) -> bool:
        """Return whether the client id is the user name of the older client, and the newer one is another user.

        Only the full user name decides. It belongs to one user alone, so nobody can make another look like a thief;
        a device id may stand in several tenants, and a tenant could call its own device by the client id of another's.
        """
        return self.client_id == self.older.user != self.newer.user


@dataclass(frozen=True, slots=True)
class SharedClientId:
    """A client id that users of two tenants have in common. Times are seconds since 1970."""

    client_id: str
    users: tuple[str, str]
    """The one whose connection was ended last, and the one that ended it."""
    last_at: float
    times: int
    repeated: bool
    """Whether it was no accident."""
    shut_out_until: float | None
    """Until when the second user is not let in; None: it is."""

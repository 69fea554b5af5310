"""The address of the database, and how to connect as each of the appliance's roles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

DATABASE = "appliance"
"""The name of the embedded database."""

# A peer that vanished silently is noticed after about a minute instead of two hours.
KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

# After a failover the address may lead to a standby, on which no statement of ours works, LISTEN included. It counts as
# away until it is promoted; of several hosts in the address the primary is taken. (A role may well be read-only.)
PRIMARY = {"target_session_attrs": "primary"}

_UNSHOWN = frozenset({"password", "sslpassword", "passfile", *KEEPALIVES, *PRIMARY})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One database. ``base`` is a connection string without role, and may hold a password."""

    base: str = field(repr=False)
    login_is_role: bool
    """True if each role logs in by itself (embedded), false if one login sets the role (external)."""

    @classmethod
    def local(cls, socket_dir: Path, port: int, dbname: str = DATABASE) -> Self:
        """Return a Postgres on a Unix socket of this machine, which authenticates by the operating-system user."""
        return cls(make_conninfo("", host=str(socket_dir), port=port, dbname=dbname), login_is_role=True)

    @classmethod
    def external(cls, url: str) -> Self:
        """Return an external Postgres, with one login that is a member of all four roles.

        Raises psycopg.ProgrammingError if ``url`` is no connection string.
        """
        given = conninfo_to_dict(url)
        return cls(make_conninfo("", **{**KEEPALIVES, **PRIMARY, **given}), login_is_role=False)

    def conninfo(self, role: str) -> str:
        """Return the libpq connection string for sessions as ``role``."""
        if self.login_is_role:
            return make_conninfo(self.base, user=role)
        options = conninfo_to_dict(self.base).get("options")
        return make_conninfo(self.base, options=" ".join(filter(None, [str(options or ""), f"-c role={role}"])))

    @property
    def database(self) -> str:
        """Return the name of the database."""
        given = conninfo_to_dict(self.base)
        return str(given.get("dbname") or given.get("user") or DATABASE)

    def shown(self) -> str:
        """Return the connection string without its password, for people."""
        given = {key: value for key, value in conninfo_to_dict(self.base).items() if key not in _UNSHOWN}
        return make_conninfo("", **given)


def environment(conninfo: str) -> dict[str, str]:
    """Return ``conninfo`` as libpq's environment variables, in which nobody else sees the password."""
    names = {option.keyword: option.envvar for option in pq.Conninfo.get_defaults()}
    found = {}
    for key, value in conninfo_to_dict(conninfo).items():
        variable = names.get(key.encode())
        if variable is not None and value is not None:
            found[variable.decode()] = str(value)
    return found

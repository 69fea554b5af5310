"""The unprivileged users that children run as when the appliance itself was started as root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trio

from appliance.errors import ApplianceError

TEST = "/usr/bin/test"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system, with its own groups only."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, name: str, *, package: str) -> Self:
        """Return the user ``name``; :class:`ApplianceError` names the Debian package that creates it."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ApplianceError(f"There is no user {name!r} to run as; `apt-get install {package}` adds it") from None
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups)

    async def require_access(self, folder: Path) -> None:
        """Make sure that this user can reach ``folder``; else :class:`ApplianceError` names what is in the way.

        The kernel is asked by a process of that user, so access lists and odd mounts count too.
        """
        if await self._may_enter(folder):
            return
        for parent in (*reversed(folder.parents), folder):
            if not await self._may_enter(parent):
                raise ApplianceError(
                    f"The user {self.name!r} cannot enter {parent}, which holds data_dir: "
                    f"`chmod o+x {parent}`, or choose a data_dir elsewhere (/var/lib/appliance)"
                )

    async def _may_enter(self, folder: Path) -> bool:
        done = await trio.run_process(
            [TEST, "-x", folder],
            check=False,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            cwd="/",
        )
        return done.returncode == 0


def child_account(name: str, *, package: str) -> Account | None:
    """Return the user that a child runs as: ``name`` when we are root, None (our own user) when we are not."""
    return Account.named(name, package=package) if os.geteuid() == 0 else None


def own_name() -> str:
    """Return the name of our own user; :class:`ApplianceError` when it has none, since Postgres needs one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ApplianceError(
            f"The user id {os.geteuid()} has no name in /etc/passwd, and Postgres starts for named users only: "
            "run as a user that exists, or set database.url"
        ) from None


def user_name(uid: int) -> str:
    """Return the name of a user of this machine, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

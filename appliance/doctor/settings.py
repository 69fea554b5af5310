"""Checks of the server: that it answers, its version, and what makes a commit outlive a power cut."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.db import statements
from appliance.db.bootstrap import MINIMUM_VERSION
from appliance.db.roles import ROLES
from appliance.doctor.check import Finding, Sight, UnseenError, broken

STATEMENTS = statements.load("doctor")

EMBEDDED_ADVICE = "restart the appliance, which writes the settings of its Postgres anew; or "
SAFE_COMMITS = frozenset({"on", "local", "remote_write", "remote_apply"})
"""Values of synchronous_commit with which a commit is on this server's disk before it is answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the database answers; ``fault`` is the reason why not."""

    fault: str | None


async def look_at_answer(sight: Sight) -> Answer:
    """Return whether the database answers. Raises UnseenError where none has to."""
    if sight.connection is None and not sight.should_answer:
        raise UnseenError(sight.absence)
    return Answer(None if sight.connection is not None else sight.absence)


def judge_answer(seen: Answer) -> Iterable[Finding]:
    """Judge whether the database answers."""
    if seen.fault is not None:
        yield broken(f"the database does not answer: {seen.fault}", "start it, or correct database.url")


async def look_at_version(sight: Sight) -> int:
    """Return the major version of the server."""
    return sight.database.info.server_version // 10000


def judge_version(major: int) -> Iterable[Finding]:
    """Judge the major version of the server."""
    if major < MINIMUM_VERSION:
        yield broken(f"the database server is Postgres {major}", f"upgrade it to Postgres {MINIMUM_VERSION} or newer")


async def look_at_settings(sight: Sight) -> Mapping[str, str]:
    """Return the settings of the server that durability depends on."""
    cursor = await sight.database.execute(STATEMENTS["durability_settings"])
    return dict(await cursor.fetchall())


def judge_fsync(settings: Mapping[str, str]) -> Iterable[Finding]:
    """Judge whether commits are flushed to the disk."""
    return _must_be_on("fsync", settings, "a power cut can lose or damage everything that was committed")


def judge_full_page_writes(settings: Mapping[str, str]) -> Iterable[Finding]:
    """Judge whether pages that are torn by a power cut can be repaired."""
    return _must_be_on("full_page_writes", settings, "a power cut in the middle of a page damages its table for good")


def _must_be_on(name: str, settings: Mapping[str, str], effect: str) -> Iterable[Finding]:
    if settings.get(name) != "on":
        yield broken(
            f"{name} is {settings.get(name)}: {effect}",
            f"as a superuser: ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
        )


@dataclass(frozen=True, slots=True)
class CommitSetting:
    """A value of synchronous_commit, and where it is set: '' for the server as a whole, else a role or a database."""

    value: str
    role: str
    database: str


async def look_at_commits(sight: Sight) -> Sequence[CommitSetting]:
    """Return the value of synchronous_commit of the server, and those that are set for roles and databases of ours."""
    names = {"names": [role.name for role in ROLES]}
    cursor = await sight.database.execute(STATEMENTS["commit_settings"], names)
    return [CommitSetting(*row) for row in await cursor.fetchall()]


def judge_commits(settings: Sequence[CommitSetting]) -> Iterable[Finding]:
    """Judge whether a commit is answered only once it is on the disk."""
    for each in settings:
        if each.value in SAFE_COMMITS:
            continue
        holder = " ".join(
            [*([f"ROLE {each.role}"] if each.role else []), *([f"DATABASE {each.database}"] if each.database else [])]
        )
        # ALTER ROLE x IN DATABASE y is the form for both
        holder = f"ROLE {each.role} IN DATABASE {each.database}" if each.role and each.database else holder
        place = f" for {holder}" if holder else ""
        command = (
            f"ALTER {holder or 'SYSTEM'} {'RE' if holder else ''}SET synchronous_commit{'' if holder else ' = on'};"
        )
        yield broken(
            f"synchronous_commit is {each.value}{place}: a crash of the server loses messages that were acknowledged",
            f"as a superuser: {command}{'' if holder else ' SELECT pg_reload_conf();'}",
        )

"""P16: one renewal asked for a hundred times at once, in two processes, is one renewal."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import psycopg
import pytest

from appliance.renewals.plan import Request
from tests.renewals.contender import Outcome, Round
from tests.renewals.family import ADDON, DAY, ENDS, FEWER, LIMIT, MAIN, check_family, column, end_of, found
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.project import ROOT
from tests.support.tenants import INGEST

PROCESSES, CALLERS = 2, 50
ROLES = ("appliance_web", INGEST)
"""A customer's requests come to one process, an operator's to the other."""
PLAIN = Request(MAIN, 30)


class Contender:
    """One of the processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def start(self, asked: Round) -> None:
        """Have its callers ask, once it is ready."""
        assert self._out.readline() == "ready\n", "a contender ended early"
        self._in.write(msgspec.json.encode(asked).decode() + "\n")
        self._in.flush()

    def outcomes(self) -> list[Outcome]:
        """Return what they were told."""
        line = self._out.readline()
        assert line, "a contender failed"
        return msgspec.json.decode(line, type=list[Outcome])


@contextmanager
def contender(conninfo: str) -> Iterator[Contender]:
    """Run a process, which ends with the block."""
    command = [sys.executable, "-m", "tests.renewals.contender", conninfo, str(CALLERS)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Contender(process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def shared(postgres_server: PostgresServer, database_template: str) -> Iterator[tuple[Database, list[Contender]]]:
    """The database of all tests here, each with a tenant of its own, and the processes."""
    database = create_database(postgres_server, template=database_template, owner="appliance_owner")
    try:
        with ExitStack() as stack:
            yield database, [stack.enter_context(contender(database.conninfo(role))) for role in ROLES]
    finally:
        drop_database(database)


@pytest.mark.parametrize("request_", [PLAIN, FEWER], ids=["30 days", "365 days on fewer seats"])
@pytest.mark.parametrize(
    "key", ["one-key-for-all", "caller-{}", None], ids=["with one key", "with different keys", "without a key"]
)
def test_a_hundred_times_at_once_it_is_renewed_once(
    shared: tuple[Database, list[Contender]], request_: Request, key: str | None
) -> None:
    database, contenders = shared
    tenant = f"{request_.term_days}-{'none' if key is None else key.strip('{}')}"
    with psycopg.connect(database.conninfo(), autocommit=True) as watcher:
        found(watcher, tenant)
        for place, one in enumerate(contenders):
            one.start(Round(tenant, request_, key, first=place * CALLERS))
        told = [one.outcomes() for one in contenders]
        outcomes = [outcome for each in told for outcome in each]
        assert len(outcomes) == PROCESSES * CALLERS
        first = next(outcome.answer for outcome in outcomes if outcome.answer.changed)
        check_family(watcher, tenant, [first])
        _check_answers(outcomes, key)
        for answer in (outcome.answer for outcome in outcomes):
            assert msgspec.structs.replace(answer, changed=True, note=None) == first, "all tell of the same renewal"
        assert (first.previous_term_end, first.new_term_end) == (ENDS, ENDS + request_.term_days * DAY)
        assert end_of(watcher, tenant) == end_of(watcher, tenant, ADDON) == first.new_term_end
        assert first.device_limit == (request_.new_device_limit or LIMIT)
        stopped = "SELECT device_id FROM device_registry WHERE tenant_id = %s AND status = 'INACTIVE' ORDER BY 1"
        assert column(watcher, stopped, tenant) == [*sorted(request_.devices_to_deactivate), "i1"]
        audited = "SELECT object_id FROM audit_log WHERE tenant_id = %s AND action = %s ORDER BY 1"
        for action in ("device.deactivate", "credential.revoke"):
            assert column(watcher, audited, tenant, action) == sorted(request_.devices_to_deactivate)
        assert column(watcher, audited, tenant, "subscription.renew") == [MAIN]


def _check_answers(outcomes: list[Outcome], key: str | None) -> None:
    """Check which of the answers say that they changed it: of one key all, word for word; else the first."""
    changed = [outcome for outcome in outcomes if outcome.answer.changed]
    replayed = [outcome for outcome in outcomes if outcome.replayed]
    if key is not None and "{}" not in key:
        assert (len(changed), len(replayed)) == (len(outcomes), len(outcomes) - 1)
        return
    assert (len(changed), len(replayed)) == (1, 0)
    assert {outcome.answer.note for outcome in outcomes if not outcome.answer.changed} == {"Already active"}


def test_asked_again_afterwards_in_either_process_each_is_answered_as_before(
    shared: tuple[Database, list[Contender]],
) -> None:
    database, contenders = shared
    with psycopg.connect(database.conninfo(), autocommit=True) as watcher:
        found(watcher, "again")
        for number in (0, 1):
            for one in contenders:  # both as the same fifty callers
                one.start(Round("again", FEWER, "caller-{}", first=0))
            outcomes = [outcome for one in contenders for outcome in one.outcomes()]
            assert sum(outcome.replayed for outcome in outcomes) == (len(outcomes) if number else CALLERS)
        changed = [outcome.answer for outcome in outcomes if outcome.answer.changed]
        assert len(changed) == PROCESSES, "the one caller that renewed, in each process"
        check_family(watcher, "again", changed[:1])

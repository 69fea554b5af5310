"""What ends while a try is written down is written down together, and costs nobody else more than a try."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import pytest
import trio

from appliance.delivery.integrations.integration import Integration
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.settlements import Settlements
from appliance.delivery.outbox.settling import Settling, Tried
from appliance.delivery.senders.sender import Outcome, Target, Verdict
from tests.support.alerts import add_alert
from tests.support.couriers import PlayedSender, open_couriers, rows
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route


class PlayedSettling:
    """Notes which tries are written down together; ``refuses`` says which ones cannot be."""

    def __init__(self, refuses: Sequence[Tried] = ()) -> None:
        self.refuses = refuses
        self.written: list[list[Tried]] = []
        self.may_write = trio.Event()

    async def settle(self, tries: Sequence[Tried]) -> None:
        together = list(tries)
        await self.may_write.wait()
        if any(one in self.refuses for one in together):
            raise OSError("held")
        self.written.append(together)
        for one in together:
            one.settled = True


def tried(tenant: str = "acme", *, merged_count: int = 0, verdict: Verdict = Verdict.DELIVERED) -> Tried:
    class Named:
        tenant_id = tenant

    class Leased:
        pass

    Leased.merged_count = merged_count  # type: ignore[attr-defined]
    return Tried(cast("Integration", Named()), cast("Any", Leased()), Outcome(verdict, 0.0), 0.0)


async def settle_all(settling: PlayedSettling, tries: Sequence[Tried]) -> list[Tried]:
    """Let tries end one after the other while the first is written down; return those that could not be."""
    settlements, failed = Settlements(cast("Settling", settling), trio.CapacityLimiter(3)), list[Tried]()

    async def end(one: Tried) -> None:
        try:
            await settlements.settle(one)
        except OSError:
            failed.append(one)

    async with trio.open_nursery() as nursery:
        for one in tries:
            nursery.start_soon(end, one)
            await trio.testing.wait_all_tasks_blocked()
        settling.may_write.set()
    return failed


async def test_what_ends_while_one_is_written_down_is_written_down_together() -> None:
    settling, tries = PlayedSettling(), [tried() for _ in range(5)]
    assert await settle_all(settling, tries) == []
    assert sorted(map(len, settling.written)) == [1, 4]


async def test_tenants_and_what_needs_a_transaction_of_its_own_are_kept_apart() -> None:
    one, other, summary, gone = tried(), tried("beta"), tried(merged_count=2), tried(verdict=Verdict.GONE)
    settling = PlayedSettling()
    assert await settle_all(settling, [one, other, summary, gone]) == []
    assert sorted(map(len, settling.written)) == [1, 1, 1, 1]


async def test_one_that_cannot_be_written_down_costs_the_others_a_try() -> None:
    tries = [tried() for _ in range(4)]
    settling = PlayedSettling(refuses=[tries[2]])
    assert await settle_all(settling, tries) == [tries[2]]
    assert sorted(map(len, settling.written)) == [1, 1, 1]
    settling.refuses = ()
    await Settlements(cast("Settling", settling), trio.CapacityLimiter(3)).settle(tries[2])
    assert tries[2].settled


async def test_one_that_is_cut_off_while_it_waits_is_not_written_down_and_leaves_the_others_theirs() -> None:
    settling, tries = PlayedSettling(), [tried() for _ in range(4)]
    settlements = Settlements(cast("Settling", settling), trio.CapacityLimiter(3))
    scopes = [trio.CancelScope() for _ in tries]

    async def end(number: int) -> None:
        with scopes[number]:
            await settlements.settle(tries[number])

    async with trio.open_nursery() as nursery:
        for number in range(len(tries)):
            nursery.start_soon(end, number)
            await trio.testing.wait_all_tasks_blocked()
        scopes[1].cancel()  # it leads those behind it
        scopes[3].cancel()
        await trio.testing.wait_all_tasks_blocked()
        settling.may_write.set()
    assert sorted(tries.index(one) for [one] in settling.written) == [0, 2]


async def test_outcomes_of_all_kinds_are_written_down_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrations: list[UUID] = [add_integration(database) for _ in range(6)]
    for integration_id in integrations:
        add_route(database, integration_id)
    outcomes = [
        Outcome(Verdict.DELIVERED, 0.1, status=204),
        Outcome(Verdict.RETRY, 0.1, status=500, answer=b"no\0"),
        Outcome(Verdict.REFUSED, 0.1, status=400),
        Outcome(Verdict.UNREACHED, 0.1, error="nobody"),
        Outcome(Verdict.DELIVERED, 0.1, status=200),
        Outcome(Verdict.GONE, 0.1, status=410),
    ]
    begun, settle, sizes = [0], Settling.settle, list[int]()
    all_begun = trio.Event()

    async def send(_target: Target, _notice: Notice) -> Outcome:
        number = begun[0]
        begun[0] += 1
        if begun[0] == len(outcomes):
            all_begun.set()
        await all_begun.wait()
        return outcomes[number]

    async def noted(self: Settling, tries: Sequence[Tried]) -> None:
        sizes.append(len(tries))
        await settle(self, tries)

    monkeypatch.setattr(Settling, "settle", noted)
    async with open_couriers(database, PlayedSender(send)) as couriers:
        await trio.to_thread.run_sync(add_alert, database)
        with trio.fail_after(30):
            while rows(database, "SELECT count(*) FROM delivery_attempts") != [(len(outcomes),)]:
                await trio.sleep(0.01)
        await couriers.rest()
    assert max(sizes) > 1
    assert sorted(rows(database, "SELECT status, reason, receipt FROM delivery_jobs"), key=str) == sorted(
        [
            ("COMPLETED", None, "confirmed"),
            ("COMPLETED", None, "confirmed"),
            ("PENDING", "retrying", "refused"),
            ("DEAD", "refused", "refused"),
            ("PENDING", "unreachable", "none"),
            ("DEAD", "gone", "refused"),
        ],
        key=str,
    )
    assert rows(database, "SELECT count(*), count(last_success_at), sum(failures) FROM integration_health") == [
        (6, 2, 4)
    ]
    assert rows(database, "SELECT count(*) FROM integrations WHERE disabled_reason = 'gone'") == [(1,)]

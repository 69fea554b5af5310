"""Whatever is renewed and corrected, in any order: n renewals are n terms, and no paid day is lost (P17)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid
from appliance.renewals.answer import Answer
from appliance.renewals.plan import TERM_DAYS, Request
from appliance.renewals.renewal import renew
from appliance.subscriptions import store, terms
from tests.renewals.family import DAY, ENDS, MAIN, OTHER, POLICY, check_family, column, end_of, found
from tests.support import soak
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, ingest
from tests.support.zones import ZONES

EXAMPLES = soak.times(12)


@dataclass
class Life:
    """A tenant, its time, and what was answered to it."""

    connection: Connection[Any]
    watcher: psycopg.Connection[Any]
    tenant: str
    zone: ZoneInfo
    now: datetime = NOW
    answers: list[Answer] = field(default_factory=list)

    async def renews(self, subscription: str, days: int, again: bool) -> None:
        """Renew, and look whether the term is as long as was bought."""
        key = f"key-{len(self.answers)}" if again else None
        request = Request(subscription, days, again=again)
        context = replace(BY, now=self.now, settled=self.now)
        before = end_of(self.watcher, self.tenant, subscription)
        outcome = await renew(self.connection, self.tenant, request, context, key=key, policy=POLICY, trusted=True)
        after = end_of(self.watcher, self.tenant, subscription)
        self.answers.append(outcome.answer)
        if not outcome.answer.changed:
            assert after == before
            return
        assert outcome.answer.previous_term_end == before
        assert outcome.answer.new_term_end == after
        assert after > before
        moved = terms.last_full_day(after, self.zone) - terms.last_full_day(max(before, self.now), self.zone)
        assert moved == days * DAY, "the last full day moves by what was bought"

    async def waits(self, days: int) -> None:
        """Let time pass."""
        self.now += timedelta(days=days, hours=1)

    async def is_corrected(self, days: int, limit: int | None) -> None:
        """Have an operator move the end, or say how many seats there are."""
        end = end_of(self.watcher, self.tenant) + timedelta(days=days) if days else None
        changes = store.Changes(term_end=end, device_limit=limit)
        context = replace(BY, now=self.now, settled=self.now)
        try:
            await store.change(self.connection, self.tenant, MAIN, changes, context, grace=GRACE)
        except (Conflict, Invalid):
            return


steps = st.one_of(
    st.tuples(st.just("renews"), st.sampled_from([MAIN, MAIN, OTHER]), st.sampled_from(TERM_DAYS), st.booleans()),
    st.tuples(st.just("waits"), st.sampled_from([1, 20, 45, 200])),
    st.tuples(st.just("is_corrected"), st.sampled_from([0, -400, -30, -1, 1, 400]), st.sampled_from([None, 5, 9])),
)


@settings(max_examples=EXAMPLES)
@given(zone=st.sampled_from(ZONES), life=st.lists(steps, min_size=1, max_size=10))
def _live(database: Database, numbers: list[int], zone: str, life: list[tuple[Any, ...]]) -> None:
    """Live one life after another, each as a tenant of its own."""
    numbers.append(len(numbers))

    async def run() -> None:
        tenant = f"t{len(numbers)}"
        async with ingest(database) as connection:
            with psycopg.connect(database.conninfo(), autocommit=True) as watcher:
                found(watcher, tenant, end=terms.end_after(ENDS.date(), ZoneInfo(zone)))
                watcher.execute(b"UPDATE tenants SET time_zone = %s WHERE tenant_id = %s", [zone, tenant])
                one = Life(connection, watcher, tenant, ZoneInfo(zone))
                for what, *values in life:
                    await getattr(one, what)(*values)
                    check_family(watcher, tenant, one.answers)
                bought = column(
                    watcher,
                    "SELECT kind FROM subscription_terms WHERE tenant_id = %s AND subscription_id = ANY(%s)"
                    " AND kind = 'RENEWED'",
                    tenant,
                    [MAIN, OTHER],
                )
                assert len(bought) == sum(answer.changed for answer in one.answers)

    trio.run(run)


def test_each_renewal_is_one_term_without_gap_or_overlap_and_takes_no_paid_day(database: Database) -> None:
    numbers: list[int] = []
    _live(database, numbers)
    assert len(numbers) >= EXAMPLES / 2

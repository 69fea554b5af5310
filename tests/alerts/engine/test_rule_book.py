"""Rules that are read while batches go on."""

import time
from collections.abc import Sequence

import trio
import trio.lowlevel

from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.rule_book import RuleBook
from appliance.alerts.engine.watch import Watch
from appliance.alerts.rules.rule import AlertRule
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from tests.alerts.engine.test_memories import KEY, MEAN
from tests.alerts.engine.test_observer import reading
from tests.support.engine import add_rule, open_engine
from tests.support.pipeline import furnish
from tests.support.postgres_server import Database


async def test_rules_that_come_in_while_a_batch_takes_others_are_not_lost() -> None:
    book: RuleBook

    async def load(tenants: Sequence[str] | None) -> Sequence[AlertRule]:
        await trio.lowlevel.checkpoint()
        book.apply()
        assert tenants is None
        return []

    book = RuleBook(load, 10)
    async with trio.open_nursery() as nursery:
        await nursery.start(book.run)
        assert book.told
        nursery.cancel_scope.cancel()


async def test_a_window_that_is_filled_while_a_batch_takes_others_is_not_lost(database: Database) -> None:
    await furnish(database)
    add_rule(database, MEAN, kind="window")
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, time.time() - 50))
        plan = engine.book.watches[KEY].plan
    (rule_key,) = plan.by_key
    watch = Watch(plan, None, ())
    watch.filling[rule_key] = [(round(time.time() * 1e6), 1)]
    async with open_pool(database.conninfo(INGEST), name="windows", min_size=1, max_size=1) as pool:
        memories = Memories(pool)
        memories.want(KEY, watch)
        async with trio.open_nursery() as nursery:
            await nursery.start(memories.run)
            with trio.fail_after(10):
                while rule_key in watch.filling:
                    memories.apply({KEY: watch})
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert memories.filling == 0

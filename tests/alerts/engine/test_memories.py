"""Memories that are filled while the watches that ordered them change."""

import time

import trio

from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.watch import Watch
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from tests.alerts.engine.test_observer import reading
from tests.support.engine import add_rule, open_engine
from tests.support.pipeline import furnish, until
from tests.support.postgres_server import Database

KEY = ("acme", "d-1")
MEAN = {"metric": "t", "operator": "GT", "value": 8, "aggregate": "avg", "window_seconds": 60}


async def test_a_window_that_was_ordered_for_a_watch_that_is_gone_is_filled_anew(database: Database) -> None:
    await furnish(database)
    add_rule(database, MEAN, kind="window")
    at = time.time() - 50
    async with open_engine(database) as engine:
        await engine.stack.send(reading(1, at))
        plan = engine.book.watches[KEY].plan
        (rule_key,) = plan.by_key
        async with open_pool(database.conninfo(INGEST), name="windows", min_size=1, max_size=1) as pool:
            memories = Memories(pool)
            old, new = Watch(plan, None, ()), Watch(plan, None, ())
            old.filling[rule_key] = [(round(at * 1e6), 1)]
            memories.want(KEY, old)
            async with trio.open_nursery() as nursery:
                await nursery.start(memories.run)
                await until(lambda: memories._filled)
                assert memories.filling == 0, "also while no batch comes to take it"
                await engine.stack.send(reading(6, at + 1))  # passes beside the old watch
                new.filling[rule_key] = [(round((at + 2) * 1e6), 5)]
                memories.apply({KEY: new})
                await until(lambda: memories._filled)
                memories.apply({KEY: new})
                nursery.cancel_scope.cancel()
    (track,) = new.tracks
    assert track.memory.take(0, 0) == 4, "of 1, 6 and 5"

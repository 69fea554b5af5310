"""The System page of a process of which a test says how it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import trio

from appliance.clock import SystemClock
from appliance.runtime.tree import Report, Reporter, Tree
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.support.web.stand_ins import quiet_system


async def _quiet(*, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        task_status.started()


def _telling(report: Report) -> Reporter:
    return lambda: report


@asynccontextmanager
async def system_page(database: Database, *reports: Report, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an operator of a dashboard whose process runs a service for each report.

    ``given`` replaces parts of the snapshot that the page shows, by name.
    """
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        for number, report in enumerate(reports):
            await tree.start(f"service-{number}", _quiet, report=_telling(report))
        system = replace(quiet_system(SystemClock()), tasks=tree.status, **given)
        operator = signed_in(database.conninfo())
        async with over(database, snapshot=system) as served, client(served.url, operator) as asking:
            yield asking
        await tree.drain()

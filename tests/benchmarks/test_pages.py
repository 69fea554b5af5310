"""The benchmark of pages asks for what there is."""

from appliance.db.pool import open_pool
from benchmarks.measurements import Line, table
from benchmarks.pages import PAGES
from tests.support.web.parts import parts
from tests.support.web.serving import NOWHERE, dashboard


async def test_every_address_is_one_that_the_dashboard_serves() -> None:
    async with open_pool(NOWHERE, name="nowhere", min_size=0, max_size=1) as pool:
        urls = dashboard(parts(pool)).url_map.bind("localhost")
    for asked in PAGES:
        urls.match(asked.path.partition("?")[0], method="GET")


def test_the_table_has_the_head_it_is_given() -> None:
    text = table([Line("/devices", "73", "59 .. 77", "< 150")], head=("page", "p95", "median .. most", "aim"))
    assert text.splitlines()[0].split() == ["page", "p95", "median", "..", "most", "aim"]

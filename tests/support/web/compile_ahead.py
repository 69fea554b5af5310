"""Imported by the process that forks dashboards: makes one, so that those which follow find all compiled."""

import trio

from appliance.assets import asset
from appliance.db.pool import open_pool
from appliance.web.http.files import StaticFiles
from appliance.web.page.templating import Templates
from tests.support.web.parts import parts
from tests.support.web.serving import NOWHERE, dashboard
from tests.support.web.stand_ins import Always


async def make_dashboard() -> None:
    """Make a dashboard without a database."""
    async with open_pool(NOWHERE, name="nowhere", min_size=0, max_size=1, timeout=1) as pool:
        dashboard(parts(pool, identity=Always()))


def compile_templates() -> None:
    """Compile all templates, those of pages and those that they include."""
    environment = Templates(StaticFiles(asset("static")), "test-appliance", lambda: False)._environment
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)


trio.run(make_dashboard)
compile_templates()

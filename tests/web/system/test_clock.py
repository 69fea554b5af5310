"""The clock on pages: calm while it is trusted; in doubt with its cause, its mend, and the way to confirm it."""

import re
import time

import psycopg
import pytest

from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from appliance.web.system.clock import ClockView, difference
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over

HOUR = 3600.0
SHOWN = re.compile(r'name="shown" value="([^"]+)"')


def in_doubt(cause: Cause = Cause.OFF, ahead: float = 14 * HOUR) -> StubServiceClock:
    return StubServiceClock(Doubt(cause, time.time()), ahead)


async def test_a_trusted_clock_is_shown_calmly_and_nowhere_else(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        html = (await asking.get("/system")).text
        assert "Trusted" in html
        assert "In doubt" not in html
        assert "in doubt" not in (await asking.get("/devices")).text
        shown = (await asking.get("/operator/system")).json()["clock"]
        assert (shown["trusted"], shown["cause"], shown["mend"]) == (True, None, None)
        question = await asking.get("/system/clock")
        assert "there is nothing to confirm" in question.text
        refused = await asking.post("/operator/system/clock/confirm", headers=operator.headers())
        assert (refused.status_code, "nothing to confirm" in refused.text) == (409, True)


@pytest.mark.parametrize("cause", Cause)
async def test_a_doubt_is_shown_with_both_times_its_cause_and_its_mend(database: Database, cause: Cause) -> None:
    operator = signed_in(database.conninfo())
    async with over(database, service_clock=in_doubt(cause)) as served, client(served.url, operator) as asking:
        html = (await asking.get("/system")).text
        for text in ("In doubt", "14 h ahead", "timedatectl set-ntp true", "/system/clock", "Nothing is dropped"):
            assert text in html
        shown = (await asking.get("/operator/system")).json()["clock"]
        assert (shown["trusted"], shown["cause"]) == (False, cause.value)
        assert shown["machine_time"] - shown["service_time"] == pytest.approx(14 * HOUR, abs=1)


async def test_operators_see_a_doubt_on_every_page_and_customers_on_none(database: Database) -> None:
    operator, admin = signed_in(database.conninfo()), signed_in(database.conninfo(), Role.ADMIN)
    async with over(database, service_clock=in_doubt()) as served, client(served.url, None) as asking:
        for path in ("/", "/devices", "/system", "/tenants"):
            assert "clock is in doubt" in (await asking.get(path, headers=operator.headers())).text, path
        for path in ("/", "/devices"):
            assert "clock is in doubt" not in (await asking.get(path, headers=admin.headers())).text, path


async def test_the_clock_is_confirmed_as_it_was_shown(database: Database) -> None:
    operator = signed_in(database.conninfo())
    clock = in_doubt()
    async with over(database, service_clock=clock) as served, client(served.url, operator) as asking:
        shown = SHOWN.search((await asking.get("/system/clock")).text)
        assert shown is not None
        clock.ahead += 24 * HOUR
        late = await asking.post("/system/clock", data={"shown": shown[1]}, headers=operator.headers())
        assert (late.status_code, "set since it was shown" in late.text) == (409, True)
        clock.ahead -= 24 * HOUR
        done = await asking.post("/system/clock", data={"shown": shown[1]}, headers=operator.headers())
        assert (done.status_code, done.headers["location"]) == (303, "/system?done=clock")
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute("SELECT instance, extract(epoch FROM wall)::float8, boot_id FROM clock_confirmations")
        [(instance, wall, boot_id)] = row.fetchall()
        assert boot_id == "boot"
        assert wall == pytest.approx(time.time() + 14 * HOUR, abs=60)
        audit = connection.execute("SELECT action, object_id, after ->> 'offset_seconds' FROM audit_log").fetchall()
        assert [(action, object_id) for action, object_id, _ in audit] == [("clock.confirm", instance)]
        assert float(audit[0][2]) == pytest.approx(14 * HOUR, abs=1)


async def test_a_clock_before_the_build_is_not_confirmed_by_anybody(database: Database) -> None:
    operator = signed_in(database.conninfo())
    clock = in_doubt(Cause.BEFORE_BUILD, 3600 - time.time())
    async with over(database, service_clock=clock) as served, client(served.url, operator) as asking:
        refused = await asking.post("/system/clock", data={}, headers=operator.headers())
        assert refused.status_code == 409
        assert "before this program was built" in refused.text
        assert "timedatectl set-time" in refused.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a minute behind"),
        (61.0, "1 min ahead"),
        (-3600.0, "1 h behind"),
        (14.5 * 3600, "14 h 30 min ahead"),
        (3652 * 86_400.0, "10 years 2 days ahead"),
        (-56.91 * 365 * 86_400, "56 years 332 days behind"),
    ],
)
def test_a_difference_is_told_in_two_units(seconds: float, words: str) -> None:
    assert difference(ClockView(False, 0.0, seconds, None, None, None, None)) == words

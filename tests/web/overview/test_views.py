"""The Overview, over a real database."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.people.role import Role
from appliance.web.devices.port import ListenerAddress
from appliance.web.overview.views import reason_counts
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.live import batch
from tests.support.web.open_house import get, over
from tests.support.web.parts import parts
from tests.support.web.serving import over as with_people
from tests.support.web.serving import page_socket, serving
from tests.support.web.stand_ins import OPERATOR, Always


def register(connection: psycopg.Connection, now: datetime, *devices: str, site: str | None = None) -> None:
    """Devices of acme with a seat each, of ten, until 12 days and a bit from now."""
    (subscription,) = connection.execute(
        "INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit,"
        " term_start, term_end, status, description)"
        ""
        " VALUES (now(), 'SUB-' || nextval('subscription_numbers'), 'acme', 'MAIN', 10, %(now)s,"
        " %(now)s + interval '12.5 days', 'ACTIVE', 'Base')"
        " RETURNING subscription_id",
        {"now": now},
    ).fetchone() or ("",)
    for device in devices:
        connection.execute(
            "INSERT INTO device_registry"
            " (created_at, updated_at, tenant_id, device_id, status, subscription_id, site_id)"
            " VALUES (now(), now(), 'acme', %s, 'ACTIVE', %s, %s)",
            (device, subscription, site),
        )


def fill(database: Database, now: datetime) -> None:
    """Two devices, one reading each, a minute of accounting with refusals."""
    minute = now.replace(second=0, microsecond=0)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("SELECT telemetry_ensure_partitions(%s, %s)", (minute.date(), minute.date()))
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        register(connection, now, "pump-1", "pump-2", site="hall")
        for device, seen in (("pump-1", now), ("pump-2", now - timedelta(minutes=10))):
            connection.execute(
                "INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at)"
                " VALUES ('acme', %s, %s, %s, %s)",
                (device, minute, seen, seen),
            )
            connection.execute(
                "INSERT INTO telemetry"
                " (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
                """ VALUES ('acme', %s, 'telemetry', %s, 1, %s, false, false, '{"temperature": -11.8}')""",
                (device, minute, seen),
            )
        connection.execute(
            "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused, duplicate)"
            " VALUES (%s, 'i', 'acme', 1300, 1240, 50, 10)",
            (minute,),
        )
        for reason, count in (("INVALID_METRIC", 38), ("RATE_LIMITED", 12)):
            connection.execute(
                "INSERT INTO quarantine_counters_minute VALUES (%s, 'acme', %s, %s)", (minute, reason, count)
            )
        connection.execute(
            "INSERT INTO quarantine_events (ingested_at, topic, reason, payload)"
            " VALUES (%s, 't', 'INVALID_METRIC', '')",
            (now - timedelta(hours=2, minutes=1),),
        )


def part(html: str, element_id: str) -> str:
    """The text of an element of the page, from its start on, without tags."""
    inner = html.partition(f'id="{element_id}"')[2].partition(">")[2][:3000]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", inner))


async def test_an_empty_appliance_shows_the_line_that_sends_the_first_reading(database: Database) -> None:
    async with over(database) as served:
        page = await get(served)
    assert page.status_code == 200
    assert "No reading yet" in page.text
    assert (
        "mosquitto_pub -h 127.0.0.1 -p 1883 -u TENANT/device/DEVICE -P &#39;PASSWORD&#39; -q 1 "
        "-t tenant/TENANT/device/DEVICE/telemetry -m &#39;{&#34;temperature&#34;: 21.5}&#39;" in page.text
    )


async def test_todays_accounting_devices_and_reasons_are_on_the_page(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served:
        page = (await get(served)).text
    assert part(page, "kpi-devices").startswith(" Devices 2 2 online 0 stale 0 offline ")
    seats = r" Next subscription end 12 days Last day \d+ \w{3} \d{4} · 2 of 10 seats in use "
    assert re.match(seats, part(page, "kpi-seats"))
    assert part(page, "books").startswith(" Last hour: 1,300 received, 1,240 stored, 50 refused, 10 duplicates. ")
    assert part(page, "kpi-refused").startswith(" Refused 3.8 % 50 of 1,300 messages ")
    assert part(page, "kpi-held").startswith(" Quarantined 1 not decided yet Oldest from 2 h ago ")
    assert part(page, "reasons").startswith(" Invalid metric 38 Too many messages 12 ")
    assert "INVALID_METRIC: A metric must be" in page, "the code stands in the tooltip"


async def test_devices_that_were_never_heard_are_counted_apart_and_calmly(database: Database) -> None:
    now = datetime.now(UTC)
    fill(database, now)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO device_registry"
            " (created_at, updated_at, tenant_id, device_id, status, subscription_id, site_id)"
            " SELECT now(), now(), 'acme', 'new-' || n, 'ACTIVE', subscription_id, 'barn'"
            " FROM subscriptions, generate_series(1, 8) AS n"
        )
        connection.execute("DELETE FROM device_state WHERE device_id = 'pump-2'")
    async with over(database) as served:
        page = (await get(served)).text
        one = (await get(served, "/?tenant=acme&site=hall")).text
    assert part(page, "kpi-devices").startswith(" Devices 10 1 online 0 stale 0 offline 9 never heard ")
    assert not re.search("(is|are) offline", part(page, "attention"))
    assert "9 devices were never heard. View them" in part(page, "attention")
    assert 'href="/devices?presence=NEW"' in page
    assert "1 device was never heard. View it" in part(one, "attention")
    assert 'href="/devices?presence=NEW&amp;site=hall&amp;tenant=acme"' in one


async def test_action_items_are_shown_and_every_number_is_a_link(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served:
        page = (await get(served)).text
    items = part(page, "attention")
    assert "Subscription Base ends in 12 days" in items
    assert "1 message are" not in items
    assert "1 message is held in quarantine for review." in items
    assert re.findall(r'<(\w+) class="kpi"', page) == ["a"] * 6
    assert 'href="/quarantine?reason=INVALID_METRIC&amp;span=1h"' in page
    assert "Bergen" not in page


async def test_an_operator_may_look_at_one_tenant_alone(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served:
        one = (await get(served, "/?tenant=acme")).text
        other = (await get(served, "/?tenant=other")).text
        wrong = await get(served, "/?tenant=../x")
    assert 'data-page="overview/acme"' in one
    assert 'href="/quarantine?reason=INVALID_METRIC&amp;span=1h&amp;tenant=acme"' in one
    assert part(one, "books").startswith(" Last hour: 1,300 received")
    assert part(other, "books").startswith(" Last hour: 0 received")
    assert "pump-1" not in other
    assert wrong.status_code == 400


async def test_a_range_counts_further_back_and_the_file_has_its_steps(database: Database) -> None:
    now = datetime.now(UTC)
    fill(database, now)
    arrange(
        database,
        "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused)"
        " SELECT date_trunc('minute', now()) - ago, 'i', 'acme', 10, 9, 1"
        " FROM unnest(ARRAY['2 hours', '2 days', '8 days']::interval[]) AS ago",
        "INSERT INTO quarantine_counters_minute"
        " SELECT minute, tenant_id, 'INVALID_JSON', refused FROM ingest_ledger WHERE received = 10",
    )
    async with over(database) as served:
        for asked, words, received, not_json in (
            ("1h", "Last hour", "1,300", ""),
            ("24h", "Last 24 hours", "1,310", "1"),
            ("7d", "Last 7 days", "1,320", "2"),
        ):
            page = (await get(served, f"/?range={asked}")).text
            assert part(page, "books").startswith(f" {words}: {received} received")
            assert f"Not JSON {not_json}" in part(page, "reasons") or not not_json
            assert f'data-page="overview//{asked}"' in page or asked == "1h"
            file = (await get(served, f"/?range={asked}&format=csv")).text.splitlines()
            assert file[0].removeprefix("\ufeff") == "from,seconds,received,stored,refused,duplicate,cleared"
            assert sum(int(row.split(",")[2]) for row in file[1:]) == int(received.replace(",", ""))
        step = (await get(served, "/?range=7d&format=csv")).text.splitlines()[-1].split(",")
    began = datetime.fromisoformat(step[0])
    assert (began.minute, began.second, step[1:]) == (0, 0, ["3600", "1300", "1240", "50", "10", "0"])


async def test_cleared_topics_are_told_apart_and_no_part_of_the_rate(database: Database) -> None:
    fill(database, datetime.now(UTC))
    arrange(database, "UPDATE ingest_ledger SET received = received + 2, cleared = 2")
    async with over(database) as served:
        page = (await get(served)).text
        step = (await get(served, "/?range=7d&format=csv")).text.splitlines()[-1].split(",")
    assert part(page, "books").startswith(
        " Last hour: 1,302 received, 1,240 stored, 50 refused, 10 duplicates, 2 topics"
    )
    assert step[2:] == ["1302", "1240", "50", "10", "2"]


async def test_a_site_has_its_devices_and_readings_and_the_rest_says_it_is_of_all(database: Database) -> None:
    fill(database, datetime.now(UTC))
    arrange(
        database,
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, site_id)"
        " VALUES (now(), now(), 'acme', 'valve', 'PENDING', 'yard'), (now(), now(), 'acme', 'stray', 'PENDING', NULL)",
        "UPDATE device_registry SET site_id = 'yard' WHERE device_id = 'pump-2'",
    )
    async with over(database) as served:
        whole = (await get(served, "/?tenant=acme")).text
        yard = (await get(served, "/?tenant=acme&site=yard&range=24h")).text
        nowhere = (await get(served, "/?tenant=acme&site=.none")).text
        unknown = (await get(served, "/?tenant=acme&site=elsewhere")).text
        everybody = (await get(served)).text
        live = await served.app.live_pages.fragments("overview/acme/24h/yard", OPERATOR)
        wrong = [await get(served, f"/?{query}") for query in ("range=2h", "tenant=acme&site=%00", "site=yard")]
    assert part(yard, "kpi-devices").startswith(" Devices 2 1 online ")
    assert "pump-2" in part(yard, "readings")
    assert "pump-1" not in yard
    assert "1 device at yard waits for approval." in part(yard, "attention")
    assert "without a site" not in part(yard, "attention")
    assert part(yard, "books").startswith(" Last 24 hours, all sites: 1,300 received")
    assert 'data-page="overview/acme/24h/yard"' in yard
    assert "format=csv" not in yard
    assert "format=csv" in whole
    assert part(nowhere, "kpi-devices").startswith(" Devices 1 0 online ")
    assert part(unknown, "readings").startswith(" No reading from this site yet ")
    assert re.findall(r'<option value="([^"]*)"( selected)?>', yard) == [
        ("", ""),
        ("hall", ""),
        ("yard", " selected"),
        (".none", ""),
    ]
    assert "<select" not in everybody, "a site belongs to one tenant"
    assert "pump-2" in "".join(part.html for part in live)
    assert "pump-1" not in "".join(part.html for part in live)
    assert [
        (answer.status_code, name in answer.text)
        for answer, name in zip(wrong, ("1h, 24h", "site id", "tenant first"), strict=True)
    ] == [(400, True)] * 3


async def test_whoever_has_a_tenant_gets_live_parts_of_no_other(database: Database) -> None:
    fill(database, datetime.now(UTC))
    own = replace(OPERATOR, tenant_id="other", role=Role.VIEWER)
    async with over(database) as served:
        asked = [
            fragment
            for page in ("overview/acme", "overview/acme/7d", "overview/acme/1h/hall")
            for fragment in await served.app.live_pages.fragments(page, own)
        ]
        theirs = await served.app.live_pages.fragments("overview/acme", OPERATOR)
    assert "pump-1" not in "".join(fragment.html for fragment in asked)
    assert "pump-1" in "".join(fragment.html for fragment in theirs)


async def test_after_a_restart_the_last_readings_and_the_rate_are_still_there(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served:
        page = (await get(served)).text
        assert served.platform.live.series(3600, 1, None)[0].accepted != 0
    readings = part(page, "readings")
    assert readings.index("pump-1") < readings.index("pump-2")
    assert "temperature −11.8" in readings  # noqa: RUF001 - the page has a true minus sign
    assert "acme" in readings


async def test_times_are_relative_with_the_absolute_beside_them(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served:
        page = (await get(served)).text
    assert re.search(
        r'<time datetime="20\d\d-[^"]+" title="\w{3} \d+ \w{3} 20\d\d, [\d:]+ \w+">10 min ago</time>', page
    )


async def test_without_script_the_page_says_its_time_and_offers_a_refresh(database: Database) -> None:
    async with over(database) as served:
        page = (await get(served)).text
    assert re.search(r"As of \d\d:\d\d:\d\d ", page)
    assert re.search(r'<a class="btn s" href="/">Refresh</a>', page)


async def test_a_reading_cannot_bring_markup_into_the_page(database: Database) -> None:
    async with over(database) as served:
        served.platform.live.publish(batch("<script>alert(1)</script>"))
        page = (await get(served)).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_the_page_and_the_socket_show_the_same_numbers(database: Database) -> None:
    fill(database, datetime.now(UTC))
    async with over(database) as served, page_socket(served) as page:
        assert "1,240" in await page.get_message()


async def test_the_first_messages_in_a_while_are_not_called_none(database: Database) -> None:
    async with over(database) as served:
        assert "None in the last 30 minutes" in (await get(served)).text
        served.platform.live.publish(batch())
        page = (await get(served)).text
    assert "The first in 30 minutes" in page
    assert "None in the last 30 minutes" not in page


@pytest.mark.parametrize(
    ("page_host", "host"), [("edge.local:8080", "edge.local"), ("10.0.0.7", "10.0.0.7"), ("[::1]:8080", "::1")]
)
def test_the_ready_line_has_the_address_that_the_browser_used(page_host: str, host: str) -> None:
    line = ListenerAddress(None, 1884).command(page_host, "acme/device/d", "secret")
    assert line.startswith(
        f"mosquitto_pub -h {host} -p 1884 -u acme/device/d -P 'secret' -q 1 -t tenant/acme/device/d/"
    )


def test_the_ready_line_has_the_options_that_tls_needs() -> None:
    line = ListenerAddress("b", 8883, " --cafile ca.pem").command("edge", "acme/device/d", "secret")
    assert line.startswith("mosquitto_pub -h b -p 8883 --cafile ca.pem -u acme/device/d")
    line = ListenerAddress(None, 8883, named="gw.example").command("10.0.0.7", "acme/device/d", "secret")
    assert line.startswith("mosquitto_pub -h gw.example -p 8883 "), "its certificate is for no address"


def test_reasons_are_ordered_with_their_share_of_the_first() -> None:
    counts = reason_counts({"RATE_LIMITED": 5, "INVALID_JSON": 20, "NEW_CODE": 5})
    assert [(item.code, item.share) for item in counts] == [
        ("INVALID_JSON", 100),
        ("NEW_CODE", 25),
        ("RATE_LIMITED", 25),
    ]


async def test_a_subscription_past_a_short_grace_is_shown_as_suspended(database: Database) -> None:
    now = datetime.now(UTC)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        register(connection, now, "pump-1")
        ended = {"start": now - timedelta(days=35), "end": now - timedelta(days=5)}
        connection.execute("UPDATE subscriptions SET term_start = %(start)s, term_end = %(end)s", ended)
    async with (
        open_pool(database.conninfo(roles.INGEST), name="web", min_size=1, max_size=2) as pool,
        serving(parts(pool, identity=Always()).having(grace=timedelta(days=2))) as served,
    ):
        page = (await get(served)).text
    assert "Base is suspended: its devices&#39; messages are held." in part(page, "attention")
    assert "In grace" not in page


async def test_open_alerts_are_counted_by_severity_and_the_newest_are_listed(database: Database) -> None:
    fill(database, datetime.now(UTC))
    at = datetime.now(UTC)
    worst = add_alert(database, severity="critical", summary="Far too warm", site_id="hall", created_at=at)
    add_alert(database, severity="low", summary="Battery low", created_at=at - timedelta(minutes=5))
    add_alert(database, status="CLOSED", summary="Over by now", created_at=at - timedelta(minutes=9))
    add_alert(database, "rival", summary="Not yours", created_at=at)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    async with with_people(database) as served, client(served.url, person) as viewer:
        page, there = (await viewer.get("/")).text, (await viewer.get("/?site=hall")).text
    assert part(page, "kpi-alerts").startswith(" Open alerts 2 1 critical 0 high 0 medium 1 low 0 info ")
    assert part(there, "kpi-alerts").startswith(" Open alerts 1 1 critical ")
    recent = part(page, "recent-alerts")
    assert [recent.index(words) for words in ("Far too warm", "Battery low", "Over by now")] == sorted(
        recent.index(words) for words in ("Far too warm", "Battery low", "Over by now")
    )
    assert "Not yours" not in page
    assert "Far too warm" in part(page, "attention")
    assert f'href="/alerts/{worst}"' in page

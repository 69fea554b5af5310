"""The pages of rules, as a browser without script uses them."""

import re

import httpx
import psycopg
import pytest

from appliance.people.role import Role
from tests.support.pipeline import TENANT, arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard

RULE = {
    "name": "Freezer",
    "kind": "threshold",
    "severity": "high",
    "metric": "temperature",
    "operator": "GT",
    "value": "-15",
    "enabled": "on",
    "which": "all",
}
TENANT_WITH_READINGS = (
    "SELECT telemetry_ensure_partitions((now() - interval '2 days')::date, (now() + interval '1 day')::date)",
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
    """
    INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
      term_end, status)
    VALUES (now(), 'S', 'acme', 'MAIN', 9, now(), now() + interval '9 days', 'ACTIVE')
    """,
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
    VALUES (now(), now(), 'acme', 'd-1', 'ACTIVE', 'S'), (now(), now(), 'acme', 'd-2', 'ACTIVE', 'S')
    """,
    """
    INSERT INTO device_state (tenant_id, device_id, latest)
    VALUES ('acme', 'd-1', '{"temperature": -12, "door": true}'), ('acme', 'd-2', '{"temperature": -20}')
    """,
    """
    INSERT INTO metrics (created_at, updated_at, tenant_id, name, label, unit, decimals)
    VALUES (now(), now(), 'acme', 'temperature', 'Temperature', '°C', 1)
    """,
    """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
    SELECT 'acme', 'd-1', 'telemetry', now() - n * interval '60 s', n, now(), false, false,
      jsonb_build_object('temperature', CASE WHEN n BETWEEN 20 AND 30 THEN -12 ELSE -18 END)
    FROM generate_series(1, 100) AS n
    """,
)
MADE_BY_PEOPLE = """
SELECT name, enabled, parameters FROM alert_rules WHERE deleted_at IS NULL AND built_in IS NULL ORDER BY name
"""


@pytest.fixture
def acme(database: Database) -> Database:
    """A tenant with two devices, one of which was too warm for a while."""
    arrange(database, *TENANT_WITH_READINGS)
    return database


def rules(database: Database) -> list[tuple[str, bool, dict[str, object]]]:
    """Return name, state and parameters of the rules that people made."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(MADE_BY_PEOPLE).fetchall()


def fault(page: httpx.Response) -> str:
    """Return the summary of what is wrong, without its markup."""
    found = re.search(r'id="fault">(.*?)</div>', page.text, re.DOTALL)
    return re.sub(r"<[^>]+>", "", found[1]).strip() if found else ""


async def made(browser: httpx.AsyncClient, **fields: str) -> str:
    """Make a rule and return its address."""
    answer = await browser.post("/rules/new", data=RULE | fields)
    assert answer.status_code == 303, fault(answer)
    found = re.search(r'href="(/rules/[0-9a-f-]{36})', (await browser.get("/rules")).text)
    assert found is not None
    return found[1]


async def test_a_rule_is_made_seen_changed_switched_off_and_deleted(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser, clear_value="-16,5", **{"for": "5", "for_unit": "min"})
        listed = (await browser.get("/rules?done=created")).text
        assert "Temperature above \N{MINUS SIGN}15.0 °C for 5 min" in listed
        assert "The rule is saved" in listed
        assert 'role="switch" aria-checked="true"' in listed
        version = re.search(r'name="version" value="([^"]+)"', (await browser.get(where)).text)
        assert version is not None
        changed = await browser.post(where, data=RULE | {"value": "-14", "version": version[1]})
        assert changed.headers["location"] == "/rules?done=saved"
        assert [(name, found["value"]) for name, _, found in rules(acme)] == [("Freezer", -14)]
        off = await browser.post(f"{where}/switch", data={"enabled": "false", "back": "kind=threshold"})
        assert off.headers["location"] == "/rules?kind=threshold&done=off"
        assert [enabled for _, enabled, _ in rules(acme)] == [False]
        assert "No alert of it is open" in (await browser.get(f"{where}/delete")).text
        assert (await browser.post(f"{where}/delete", data={"typed": "Frozen"})).status_code == 422
        gone = await browser.post(f"{where}/delete", data={"typed": " Freezer "})
        assert gone.headers["location"] == "/rules?done=deleted"
        assert rules(acme) == []


@pytest.mark.parametrize(
    ("wrong", "where", "what"),
    [
        ({"name": " "}, "Name", "A name has 1 to 128 characters"),
        ({"value": "warm"}, "Open an alert when", "Enter a number, such as 6.5."),
        ({"value": ""}, "Open an alert when", "Write a number."),
        ({"metric": ""}, "Open an alert when", "Name the metric"),
        ({"clear_value": "-14"}, "Close it when", "Write -15 or less"),
        ({"for": "0", "for_unit": "s"}, "Open an alert when", "Enter at least 1 s."),
        ({"which": "some"}, "On", "Choose a site"),
        ({"which": "some", "devices": "no such/id"}, "Single devices", "An id has 1 to 64"),
        ({"severity": "awful"}, "With severity", "Choose one of"),
        (
            {"c0_metric": "door", "c0_operator": "EQ", "c0_value": "true", "c0_age": ""},
            "Open an alert when",
            "Write a whole",
        ),
    ],
)
async def test_an_error_stands_below_its_sentence_and_the_form_comes_back_as_typed(
    acme: Database, wrong: dict[str, str], where: str, what: str
) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        answer = await browser.post("/rules/new", data=RULE | {"description": "Call Ola."} | wrong)
        assert answer.status_code == 422
        assert fault(answer).startswith(f"Not saved. {where}: {what}")
        assert answer.text.count('class="err"') == 1
        assert 'aria-invalid="true"' in answer.text
        assert "Call Ola." in answer.text
        assert rules(acme) == []


async def test_a_change_over_a_change_of_somebody_else_is_a_conflict_and_keeps_what_was_typed(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser)
        stale = {"version": "2020-01-01T00:00:00+00:00", "value": "-3"}
        answer = await browser.post(where, data=RULE | stale)
        assert answer.status_code == 409
        assert "changed by someone else" in fault(answer)
        assert 'name="value" value="-3"' in answer.text
        twice = await browser.post("/rules/new", data=RULE)
        assert (twice.status_code, fault(twice)[:16]) == (409, "Not saved. Name:")


async def test_a_button_shows_the_preview_beside_what_was_typed(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        page = (await browser.post("/rules/new", data=RULE | {"name": "", "do": "preview"})).text
        assert "1 alert in the last 7 days" in page
        assert "d-1, 1 alert" in page
        assert "2 devices match now, all report temperature." in page
        assert "Checked 100 readings from 2 devices over the full 7 days" in page
        assert 'class="limit"' in page
        assert 'name="value" value="-15"' in page
        assert rules(acme) == []
        other = (await browser.post("/rules/new", data=RULE | {"do": "preview", "device": "d-2"})).text
        assert "Temperature of d-2 over the last 7 days. Nothing would have opened." in other


async def test_a_change_is_compared_with_the_saved_rule(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser)
        page = (await browser.post(f"{where}/preview", data=RULE | {"value": "5"})).text
        assert "No alerts in the last 7 days" in page
        assert "The saved rule opened 1 in the same time." in page
        same = (await browser.post(f"{where}/preview", data=RULE)).text
        assert "The saved rule" not in same


async def test_while_a_field_is_in_error_the_preview_keeps_the_last_valid_value_and_says_so(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser, clear_value="-16")
        page = (await browser.post(f"{where}/preview", data=RULE | {"clear_value": "-14"})).text
        assert "The field clear value has an error, so the preview uses the last valid \N{MINUS SIGN}16.0." in page
        assert "1 alert in the last 7 days" in page
        first = await browser.post("/rules/new/preview", data=RULE)
        valid = re.search(r'name="valid" form="rule-form" value="([^"]+)"', first.text)
        assert valid is not None
        kept = valid[1].replace("&#34;", '"')
        page = (await browser.post("/rules/new/preview", data=RULE | {"value": "warm", "valid": kept})).text
        assert "The field limit has an error, so the preview uses the last valid \N{MINUS SIGN}15.0." in page
        page = (await browser.post("/rules/new/preview", data=RULE | {"value": "warm", "valid": "{"})).text
        assert "Finish the sentence" in page


async def test_another_kind_and_further_conditions_redraw_the_form_without_script(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        page = (await browser.post("/rules/new", data=RULE | {"kind": "window", "do": "redraw"})).text
        assert 'name="window"' in page
        assert 'value="Freezer"' in page
        page = (await browser.post("/rules/new", data=RULE | {"do": "add"})).text
        assert 'name="c0_metric"' in page
        assert "Up to 2 more" in page
        row = {"c0_metric": "door", "c0_operator": "EQ", "c0_value": "true", "c0_age": "5", "c0_age_unit": "min"}
        page = (await browser.post("/rules/new", data=RULE | row | {"do": "redraw"})).text
        assert '<option value="true" selected>true</option>' in page, "a boolean is chosen, not typed"
        page = (await browser.post("/rules/new", data=RULE | row | {"do": "remove-0"})).text
        assert 'name="c0_metric"' not in page
        assert rules(acme) == []


async def test_a_metric_and_a_device_of_the_address_fill_the_form_in(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        page = (await browser.get("/rules/new?metric=temperature&device=d-1")).text
        assert '<option value="temperature" selected>Temperature</option>' in page
        assert 'name="devices" value="d-1"' in page
        odd = (await browser.get('/rules/new?metric="><b>&device=../x')).text
        assert "<b>" not in odd


async def test_people_who_may_not_change_it_see_the_rule_and_its_preview(acme: Database) -> None:
    admin, viewer = signed_in(acme.conninfo(), Role.ADMIN, TENANT), signed_in(acme.conninfo(), Role.VIEWER, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser)
        async with client(served.url, viewer) as other:
            page = (await other.get(where)).text
            assert "Temperature above \N{MINUS SIGN}15.0 °C" in page
            assert "1 alert in the last 7 days" in page
            assert "Save rule" not in page
            assert "rule-form" not in page
            assert "Temperature of d-2 over the last 7 days" in (await other.get(f"{where}?device=d-2")).text
            assert 'role="switch"' not in (await other.get("/rules")).text
            assert (await other.get("/rules/new")).status_code == 403


async def test_an_operator_names_the_tenant(acme: Database) -> None:
    operator = signed_in(acme.conninfo())
    async with dashboard(acme) as served, client(served.url, operator) as browser:
        answer = await browser.post("/rules/new?tenant=acme", data=RULE)
        assert answer.headers["location"] == "/rules?done=created&tenant=acme"
        everywhere = (await browser.get("/rules")).text
        assert 'href="/rules/new"' in everywhere
        assert re.search(r"/rules/[0-9a-f-]{36}\?tenant=acme", everywhere)
        assert (await browser.get("/rules/new")).headers["location"] == "/rules/new?tenant=acme"


async def test_the_list_is_filtered_and_searched(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        await made(browser)
        await made(browser, name="Silence", kind="no_data", metric="", seconds="5", seconds_unit="min", enabled="")
        for query, names in (
            ("", ["Freezer", "Silence"]),
            ("kind=no_data", ["Silence"]),
            ("enabled=true", ["Freezer"]),
            ("q=temperature", ["Freezer"]),
            ("severity=low", []),
        ):
            page = (await browser.get(f"/rules?{query}")).text
            found = re.findall(r'class="title"[^>]*>(Freezer|Silence)<', page)
            assert sorted(found) == names, query


async def test_the_built_in_rule_is_tuned_and_never_of_another_kind_nor_deleted(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        found = re.search(r'href="(/rules/[0-9a-f-]{36})[^>]*>No heartbeat<', (await browser.get("/rules")).text)
        assert found is not None
        page = (await browser.get(found[1])).text
        assert "Delete…" not in page
        assert "as soon as it turns offline" in page
        tuned = {"name": "No heartbeat", "kind": "no_data", "severity": "critical", "enabled": "on", "which": "all"}
        preview = (await browser.post(f"{found[1]}/preview", data=tuned)).text
        assert "Checked 100 messages from 2 devices" in preview
        answer = await browser.post(found[1], data=tuned | {"seconds": "20", "seconds_unit": "min"})
        assert answer.status_code == 303
        assert "No reading for 20 min" in (await browser.get("/rules")).text
        answer = await browser.post(found[1], data=tuned | RULE)
        assert (answer.status_code, fault(answer)[:17]) == (422, "Not saved. Kind: ")
        name = look(acme, "SELECT name FROM alert_rules WHERE built_in IS NOT NULL")[0][0]
        assert (await browser.post(f"{found[1]}/delete", data={"typed": name})).status_code == 409


async def test_text_and_booleans_are_a_bar_of_states_and_never_a_line(acme: Database) -> None:
    arrange(
        acme,
        """
        UPDATE telemetry
        SET metrics = metrics || jsonb_build_object('mode', CASE WHEN digest > 50 THEN 'auto' ELSE 'manual' END)
        """,
        """UPDATE device_state SET latest = '{"mode": "manual"}' WHERE device_id = 'd-1'""",
    )
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    change = {"name": "Mode", "kind": "change", "severity": "info", "metric": "mode", "to": "manual", "which": "all"}
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        page = (await browser.post("/rules/new/preview", data=change)).text
        assert "1 alert in the last 7 days" in page
        assert 'class="chart lane"' in page
        assert [name in page for name in ("</svg>auto<", "</svg>manual<")] == [True, True]
        assert 'class="ln thick"' not in page


async def test_a_rule_that_cannot_be_read_any_more_can_be_seen_and_mended(acme: Database) -> None:
    admin, viewer = signed_in(acme.conninfo(), Role.ADMIN, TENANT), signed_in(acme.conninfo(), Role.VIEWER, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser)
        for stored in ('{"conditions": 5, "for_seconds": "x"}', '{"conditions": [{"value": null}, 7], "operator": []}'):
            arrange(acme, f"UPDATE alert_rules SET parameters = '{stored}' WHERE name = 'Freezer'")
            page = await browser.get(where)
            assert (page.status_code, "raised an error and is skipped" in page.text) == (200, True)
            async with client(served.url, viewer) as other:
                assert (await other.get(where)).status_code == 200
            assert (await browser.get("/rules")).status_code == 200
            assert (await browser.post(f"{where}/preview", data=RULE)).status_code == 200
        assert (await browser.post(where, data=RULE)).status_code == 303
        assert [found["value"] for _, _, found in rules(acme)] == [-15]


async def test_lines_of_a_description_are_kept_as_they_are(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        await made(browser, description="Call Ola.\r\nThen open the hatch.")
        with psycopg.connect(acme.conninfo()) as connection:
            kept = connection.execute("SELECT description FROM alert_rules WHERE name = 'Freezer'").fetchone()
        assert kept == ("Call Ola.\nThen open the hatch.",)


async def test_what_no_browser_sends_is_refused_or_ignored(acme: Database) -> None:
    admin = signed_in(acme.conninfo(), Role.ADMIN, TENANT)
    async with dashboard(acme) as served, client(served.url, admin) as browser:
        where = await made(browser)
        odd = "&".join(f"a{number}=1" for number in range(300))
        answer = await browser.post(f"{where}/switch", data={"enabled": "false", "back": odd[:1900]})
        assert answer.headers["location"].startswith("/rules?")
        assert (await browser.post(f"{where}/switch", data={"enabled": "maybe"})).status_code in (400, 422)
        for field, text in (("name", "a\0b"), ("value", "1e400"), ("tags", "\x07")):
            answer = await browser.post("/rules/new", data=RULE | {"which": "some", "devices": "d-1"} | {field: text})
            assert answer.status_code in (400, 422), (field, text)
        for path in ("/rules/nothing", "/rules/00000000-0000-0000-0000-000000000000", "/rules/%C3%A6"):
            assert (await browser.get(path)).status_code == 404, path

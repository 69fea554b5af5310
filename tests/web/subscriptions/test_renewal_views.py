"""The renewal of a subscription on pages, as a browser without script sends it."""

import re
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.web.subscriptions.renewing import (
    ADDON,
    MAIN,
    PAGE,
    SEASON,
    SOLD,
    TRIAL,
    asked,
    fields_in,
    renewals,
    to_review,
)


@pytest.fixture
def sold(database: Database) -> Database:
    """Return a database in which acme has a main subscription with eight devices that ends in twelve days."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(SOLD)
    return database


async def test_a_renewal_goes_from_form_to_review_to_result_and_happens_once(sold: Database) -> None:
    before = asked(sold, f"SELECT term_end FROM subscriptions WHERE subscription_id = '{MAIN}'")
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        review = await to_review(browser, term_days="30")
        assert "Nothing has changed yet" in review
        assert "Extension follows to the same end" in review
        assert renewals(sold) == 0
        form = fields_in(review) | {"step": "confirm"}
        pressed = [await browser.post(PAGE, data=form) for _ in range(3)]
        assert len({answer.headers["location"] for answer in pressed}) == 1
        result = await browser.get(pressed[0].headers["location"])
        again = (await browser.get(pressed[0].headers["location"])).text
        assert "Base is renewed" in result.text
        assert "Base is renewed" in again
    after = asked(sold, f"SELECT term_end FROM subscriptions WHERE subscription_id = '{MAIN}'")
    assert timedelta(days=29, hours=22) <= after - before <= timedelta(days=30, hours=2)
    assert renewals(sold) == 1
    assert asked(sold, "SELECT count(*) FROM audit_log WHERE action = 'subscription.renew'") == 1
    assert asked(sold, f"SELECT term_end FROM subscriptions WHERE subscription_id = '{ADDON}'") == after


async def test_whoever_comes_back_to_the_review_renews_nothing(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text)
        there = (await browser.post(PAGE, data=form | {"step": "review"})).headers["location"]
        confirmed = fields_in((await browser.get(there)).text) | {"step": "confirm"}
        await browser.post(PAGE, data=confirmed)
        back = (await browser.get(there)).text
        assert "This renewal is done" in back
        assert "confirm" not in back
        other = confirmed | {"term_days": "730"}
        reused = await browser.post(PAGE, data=other)
        assert reused.status_code == 422
        assert "This form was used for another renewal" in reused.text
        assert fields_in(reused.text)["key"] != confirmed["key"]
    assert renewals(sold) == 1


async def test_a_stale_review_shows_what_would_happen_now(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in(await to_review(browser)) | {"step": "confirm"}
        with psycopg.connect(sold.conninfo()) as connection:
            connection.execute(
                f"UPDATE subscriptions SET term_end = term_end + interval '9 days' WHERE tenant_id = 'acme'"
                f" AND '{MAIN}' IN (subscription_id, parent_subscription_id)".encode()
            )
        stale = await browser.post(PAGE, data=form)
        assert (stale.status_code, renewals(sold)) == (409, 0)
        assert "has changed since you looked" in stale.text
        unseen = await browser.post(PAGE, data=form | {"seen": ""})
        assert (unseen.status_code, renewals(sold)) == (409, 0), "who has seen no preview confirms none"
        fresh = fields_in(stale.text) | {"step": "confirm"}
        assert fresh["key"] == form["key"]
        assert (await browser.post(PAGE, data=fresh)).status_code == 303
    assert renewals(sold) == 1


async def test_what_is_not_open_yet_names_the_day_and_asks_for_it_on_purpose(sold: Database) -> None:
    page = f"/subscriptions/{SEASON}/renew"
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = (await browser.get(page)).text
        assert re.search(r"Renewing opens on \d+ \w+ \d{4}", form)
        assert "Tick “Renew early”" in form
        waits = await browser.post(page, data=fields_in(form) | {"step": "review"})
        assert waits.status_code == 422
        there = await browser.post(page, data=fields_in(form) | {"again": "on", "step": "review"})
        review = (await browser.get(there.headers["location"])).text
        bare = fields_in(review) | {"step": "confirm"}
        del bare["again"]
        assert (await browser.post(page, data=bare)).status_code == 409
        assert (await browser.post(page, data=fields_in(review) | {"step": "confirm"})).status_code == 303
    assert asked(sold, "SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED'") == 1


async def test_what_cannot_be_renewed_by_itself_leads_to_what_can(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        for one in (ADDON, TRIAL):
            page = (await browser.get(f"/subscriptions/{one}/renew")).text
            assert "This cannot be renewed by itself" in page
            assert f'<a href="/subscriptions/{MAIN}">View Base</a>' in page
            assert "Review renewal" not in page
            forced = {"term_days": "30", "step": "confirm", "seen": "x", "key": "k"}
            assert (await browser.post(f"/subscriptions/{one}/renew", data=forced)).status_code == 409
        for nowhere in ("/subscriptions/SUB-9/renew", f"{PAGE}/x", f"/subscriptions/{MAIN}/renewed/1"):
            assert (await browser.get(nowhere)).status_code == 404
    assert renewals(sold) == 0


async def test_plans_are_a_choice_with_their_seats(sold: Database) -> None:
    async with (
        over(sold, plans={"basic": 10, "pro": 100}) as served,
        client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser,
    ):
        page = (await browser.get(PAGE)).text
        assert re.findall(r"<option[^>]*>([^<]*)", page) == ["No plan", "basic, up to 10 seats", "pro, up to 100 seats"]
        form = fields_in(page)
        beyond = await browser.post(PAGE, data=form | {"plan_id": "basic", "new_device_limit": "50", "step": "review"})
        assert beyond.status_code == 422
        assert "has at most 10 seats" in beyond.text
        assert 'value="50"' in beyond.text, "filled in as it was"
        review = await to_review(browser, plan_id="pro", new_device_limit="50")
        assert (await browser.post(PAGE, data=fields_in(review) | {"step": "confirm"})).status_code == 303
    assert asked(sold, f"SELECT plan_id || device_limit FROM subscriptions WHERE subscription_id = '{MAIN}'") == "pro50"


async def test_bad_fields_come_back_with_the_field_and_the_mend(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text)
        for wrong, field in (
            ({"new_device_limit": "0"}, "new_device_limit"),
            ({"new_device_limit": "many"}, "new_device_limit"),
            ({"new_device_limit": "99999999999"}, "new_device_limit"),
            ({"term_days": "31"}, "term_days"),
            ({"term_days": "x"}, "term_days"),
        ):
            answer = await browser.post(PAGE, data=form | wrong | {"step": "review"})
            assert (answer.status_code, f'id="f-{field}-e"' in answer.text) == (422, True), wrong
        for hidden in ({"key": "k" * 300}, {"plan_id": "a\0"}, {"device": ["x\0"]}, {"q": "x" * 300}):
            answer = await browser.post(PAGE, data=form | hidden | {"step": "review"})
            assert (answer.status_code, 'class="note crit"' in answer.text) == (422, True), hidden
        assert 'value="many"' in (await browser.post(PAGE, data=form | {"new_device_limit": "many"})).text
        assert (await browser.post(PAGE, data=form | {"step": "odd"})).status_code == 400
        assert (await browser.get(f"{PAGE}?step=review&term_days=x")).status_code == 200
        assert (await browser.get(f"{PAGE}?step=review&term_days=30&key={'k' * 300}")).status_code == 200
    assert renewals(sold) == 0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER])
async def test_only_admins_and_operators_renew(sold: Database, role: Role) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), role, "acme")) as browser:
        assert (await browser.get(PAGE)).status_code == 403
        assert (await browser.post(PAGE, data={"term_days": "30", "step": "confirm"})).status_code == 403
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "globex")) as browser:
        assert (await browser.get(PAGE)).status_code == 404
        assert (await browser.post(PAGE, data={"term_days": "30", "step": "confirm"})).status_code == 404
    assert renewals(sold) == 0


async def test_operators_renew_for_a_tenant(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo())) as browser:
        page = (await browser.get(PAGE)).text
        action = re.search(r'<form action="([^"]+)" method="post" class="dialog-form"', page)
        assert action is not None
        assert action[1] == f"{PAGE}?tenant=acme"
        there = (await browser.post(action[1], data=fields_in(page) | {"step": "review"})).headers["location"]
        assert parse_qs(urlsplit(there).query)["tenant"] == ["acme"]
        done = await browser.post(action[1], data=fields_in((await browser.get(there)).text) | {"step": "confirm"})
        assert "Base is renewed" in (await browser.get(done.headers["location"])).text
    assert renewals(sold) == 1


async def test_a_clock_in_doubt_renews_nothing_and_says_what_mends_it(sold: Database) -> None:
    clock = StubServiceClock()
    async with (
        over(sold, service_clock=clock) as served,
        client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser,
    ):
        form = fields_in(await to_review(browser)) | {"step": "confirm"}
        clock.doubt = Doubt(Cause.OFF, time.time())
        page = (await browser.get(PAGE)).text
        assert "The clock is in doubt" in page
        assert "Ask the operator to set the clock of the machine" in page
        assert "Review renewal" not in page
        refused = await browser.post(PAGE, data=form)
        assert refused.status_code == 409
        assert renewals(sold) == 0
        clock.doubt = None
        assert (await browser.post(PAGE, data=form)).status_code == 303


async def test_a_hold_stays_and_the_pages_say_so(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(f"UPDATE subscriptions SET hold_reason = 'unpaid' WHERE subscription_id = '{MAIN}'".encode())
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        assert "Renewing does not lift the hold" in (await browser.get(PAGE)).text
        review = await to_review(browser)
        assert "It stays on hold: unpaid" in review
        done = await browser.post(PAGE, data=fields_in(review) | {"step": "confirm"})
        assert "It is still on hold" in (await browser.get(done.headers["location"])).text
    assert asked(sold, f"SELECT hold_reason FROM subscriptions WHERE subscription_id = '{MAIN}'") == "unpaid"


async def test_the_result_offers_to_replay_what_was_held(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(
            "UPDATE subscriptions SET term_end = now() - interval '200 days', status = 'EXPIRED'"
            f" WHERE tenant_id = 'acme' AND '{MAIN}' IN (subscription_id, parent_subscription_id)".encode()
        )
        connection.execute(
            "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)"
            " SELECT now(), 'tenant/acme/device/d-1/telemetry', 'acme', 'd-1', 'telemetry', 'SUBSCRIPTION_EXPIRED',"
            " convert_to('{\"metrics\": {\"t\": ' || n || '}}', 'UTF8') FROM generate_series(1, 7) AS n"
        )
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        assert "7<small>messages" in (await browser.get("/subscriptions")).text
        review = await to_review(browser)
        done = await browser.post(PAGE, data=fields_in(review) | {"step": "confirm"})
        result = (await browser.get(done.headers["location"])).text
    assert "7 held messages" in result
    assert 'href="/quarantine/replay?reason=SUBSCRIPTION_EXPIRED"' in result


async def test_the_same_renewal_within_a_day_asks_for_it_on_purpose(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(
            "UPDATE subscriptions SET term_end = now() - interval '200 days', status = 'EXPIRED'"
            f" WHERE tenant_id = 'acme' AND '{MAIN}' IN (subscription_id, parent_subscription_id)".encode()
        )
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        early = fields_in(await to_review(browser, term_days="30"))
        late = fields_in(await to_review(browser, term_days="30"))
        await browser.post(PAGE, data=early | {"step": "confirm"})
        done = await browser.post(PAGE, data=late | {"step": "confirm"})
        result = (await browser.get(done.headers["location"])).text
        assert "Already active: nothing was changed" in result
        assert renewals(sold) == 1
        form = fields_in((await browser.get(PAGE)).text) | {"term_days": "30"}
        there = (await browser.post(PAGE, data=form | {"step": "review"})).headers["location"]
        asking = await browser.get(there)
        assert asking.status_code == 422
        assert "Tick “Renew once more” to continue." in asking.text
        again = fields_in(asking.text) | {"again": "on", "step": "review"}
        there = (await browser.post(PAGE, data=again)).headers["location"]
        assert (
            await browser.post(PAGE, data=fields_in((await browser.get(there)).text) | {"step": "confirm"})
        ).is_redirect
    assert renewals(sold) == 2

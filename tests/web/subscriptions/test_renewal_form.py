"""The choice of the devices that stop, as a browser without script makes it."""

import psycopg
import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.web.subscriptions.renewing import (
    MAIN,
    PAGE,
    SOLD,
    asked,
    devices_in,
    fields_in,
    renewals,
)


@pytest.fixture
def sold(database: Database) -> Database:
    """Return a database in which acme has a main subscription with eight devices that ends in twelve days."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(SOLD)
    return database


async def test_fewer_seats_ask_for_exactly_as_many_devices(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text) | {"new_device_limit": "5"}
        first = await browser.post(PAGE, data=form | {"step": "review"})
        assert "Choose exactly 3 devices to deactivate" in first.text
        assert "0 of 3 chosen" in first.text
        assert devices_in(first.text) == [f"d-{n}" for n in range(8, 0, -1)], "longest silent first"
        form = fields_in(first.text)
        found = await browser.post(PAGE, data=form | {"device": ["d-1"], "q": "d-2", "step": "find"})
        assert devices_in(found.text) == ["d-2"]
        assert "1 of 3 chosen" in found.text, "what was chosen before the search stays"
        form = fields_in(found.text)
        assert form["chosen"] == "d-1"
        two = await browser.post(PAGE, data=form | {"device": ["d-2"], "q": "", "step": "review"})
        assert two.status_code == 422
        assert "Choose 1 more device to continue." in two.text
        assert sorted(fields_in(two.text)["device"]) == ["d-1", "d-2"]
        five = {"device": [f"d-{n}" for n in range(1, 6)], "step": "review"}
        many = await browser.post(PAGE, data=fields_in(two.text) | five)
        assert "Choose 2 fewer to continue." in many.text
        longest = await browser.post(PAGE, data=fields_in(many.text) | {"step": "longest"})
        assert sorted(fields_in(longest.text)["device"]) == ["d-6", "d-7", "d-8"]
        there = await browser.post(PAGE, data=fields_in(longest.text) | {"step": "review"})
        review = (await browser.get(there.headers["location"])).text
        assert "3 devices stop" in review
        changed = await browser.post(PAGE, data=fields_in(review) | {"step": "change"})
        assert sorted(fields_in(changed.text)["device"]) == ["d-6", "d-7", "d-8"], "the form comes back filled in"
        done = await browser.post(PAGE, data=fields_in(review) | {"step": "confirm"})
        result = (await browser.get(done.headers["location"])).text
        assert all(f"<li>d-{n}</li>" in result for n in (6, 7, 8))
    assert renewals(sold) == 1
    stopped = "SELECT string_agg(device_id, ' ' ORDER BY device_id) FROM device_registry WHERE status = 'INACTIVE'"
    assert asked(sold, stopped) == "d-6 d-7 d-8"


async def test_more_seats_after_devices_were_chosen_let_them_all_stay(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text)
        chosen = form | {"device": ["d-1", "d-2"]}
        fewer = await browser.post(PAGE, data=chosen | {"new_device_limit": "6", "step": "find"})
        assert "2 of 2 chosen" in fewer.text
        more = await browser.post(PAGE, data=fields_in(fewer.text) | {"new_device_limit": "12", "step": "find"})
        assert "to continue" not in more.text, "the button waits for nothing"
        there = await browser.post(PAGE, data=fields_in(more.text) | {"step": "review"})
        review = (await browser.get(there.headers["location"])).text
        await browser.post(PAGE, data=fields_in(review) | {"step": "confirm"})
    assert renewals(sold) == 1
    assert asked(sold, "SELECT count(*) FROM device_registry WHERE status = 'ACTIVE'") == 8


async def test_devices_that_stopped_meanwhile_or_are_made_up_are_never_taken(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text) | {"new_device_limit": "6"}
        odd = await browser.post(PAGE, data=form | {"chosen": "d-1 <b> nobody", "step": "find"})
        assert "1 of 2 chosen" in odd.text
        assert "2 of those you chose are not active any more" in odd.text
        wrong = await browser.post(PAGE, data=form | {"chosen": "d-1 nobody", "step": "confirm", "seen": "x"})
        assert wrong.status_code == 422
        long = " ".join(f"device-{n:060}" for n in range(100))
        direct = await browser.post(PAGE, data=form | {"chosen": long, "step": "review"})
        assert direct.status_code == 422
    assert renewals(sold) == 0


async def test_many_devices_make_a_small_page_and_a_review_without_an_address(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(f"UPDATE subscriptions SET device_limit = 5000 WHERE subscription_id = '{MAIN}'".encode())
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
            f" SELECT now(), now(), 'acme', 'x-' || n, 'ACTIVE', '{MAIN}' FROM generate_series(1, 2992) AS n".encode()
        )
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        form = fields_in((await browser.get(PAGE)).text) | {"new_device_limit": "1000"}
        page = await browser.post(PAGE, data=form | {"step": "longest"})
        assert "2,000 of 2,000 chosen" in page.text
        assert len(devices_in(page.text)) == 50
        assert len(page.text) < 100_000
        review = await browser.post(PAGE, data=fields_in(page.text) | {"step": "review"})
        assert review.status_code == 200
        assert "and 1,980 more" in review.text
        done = await browser.post(PAGE, data=fields_in(review.text) | {"step": "confirm"})
        assert done.status_code == 303
    assert asked(sold, f"SELECT active_device_count FROM subscriptions WHERE subscription_id = '{MAIN}'") == 1000

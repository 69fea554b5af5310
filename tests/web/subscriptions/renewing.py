"""A tenant whose subscriptions are renewed on pages, and a browser without script."""

import re
from typing import Any

import httpx
import psycopg

from tests.support.postgres_server import Database

MAIN, ADDON, TRIAL, SEASON = (f"SUB-20260101-0000{n}" for n in range(1, 5))
PAGE = f"/subscriptions/{MAIN}/renew"
SOLD = f"""
INSERT INTO tenants (created_at, updated_at, tenant_id, name, time_zone) VALUES
  (now(), now(), 'acme', 'Acme', 'Europe/Oslo'), (now(), now(), 'globex', 'Globex', 'UTC');
INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
  term_end, status, description) VALUES
  (now(), '{MAIN}', 'acme', 'MAIN', 10, now() - interval '300 days', now() + interval '12 days', 'ACTIVE', 'Base'),
  (now(), '{TRIAL}', 'acme', 'TRIAL', 10, now() - interval '3 days', now() + interval '3 days', 'TRIAL', 'Pilot'),
  (now(), '{SEASON}', 'acme', 'TEMPORARY', 10, now() - interval '3 days', now() + interval '90 days', 'ACTIVE',
    'Season');
INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
  term_end, status, description, parent_subscription_id)
SELECT now(), '{ADDON}', tenant_id, 'ADDON', 5, term_start, term_end, 'ACTIVE', 'Extension', subscription_id
FROM subscriptions WHERE subscription_id = '{MAIN}';
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
SELECT now() - n * interval '1 day', now(), 'acme', 'd-' || n, 'ACTIVE', '{MAIN}' FROM generate_series(1, 8) AS n;
"""


def asked(database: Database, query: str) -> Any:
    """Return the only value of a query."""
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def renewals(database: Database) -> int:
    """Return how many terms were bought by renewing."""
    return int(
        asked(
            database, f"SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED' AND subscription_id = '{MAIN}'"
        )
    )


def fields_in(page: str) -> dict[str, Any]:
    """Return the fields of the form on a page as a browser sends them, without its buttons."""
    _, _, form = page.partition('class="dialog-form"')
    form = form.partition("</form>")[0]
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = (re.search(rf'\b{one}="([^"]*)"', tag) for one in ("name", "value"))
        assert name is not None
        if re.search(r'type="(checkbox|radio)"', tag) and " checked" not in tag:
            continue
        text = value[1] if value is not None else ""
        if name[1] == "device":
            found.setdefault("device", []).append(text)
        else:
            found[name[1]] = text
    return found


def devices_in(page: str) -> list[str]:
    """Return the devices to choose from."""
    return re.findall(r'name="device" value="([^"]+)"', page)


async def to_review(browser: httpx.AsyncClient, **given: Any) -> str:
    """Fill the form in and go to the review; return its page."""
    form = fields_in((await browser.get(PAGE)).text)
    answer = await browser.post(PAGE, data=form | given | {"step": "review"})
    assert answer.status_code == 303, answer.text
    return (await browser.get(answer.headers["location"])).text

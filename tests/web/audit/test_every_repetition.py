"""Every change of the API by POST, sent again with its Idempotency-Key: answered as before, and nothing is done."""

import time
from collections import Counter

import httpx
import psycopg

from appliance.service_clock.service_time import Cause, Doubt
from tests.support.audit_watch import AuditWatch
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.web.accounts import client
from tests.support.web.serving import over
from tests.web.audit.changes import CHANGES
from tests.web.audit.test_every_change import INITIAL_STATE, Requests, signed_in_with_password

WITHOUT = {"POST /customer/subscription/renew", "POST /customer/export"}
"""The one has keys of its own, the other is of any length."""
KEYED = [
    change
    for change in CHANGES
    if change.route.startswith(("POST /customer/", "POST /operator/")) and change.route not in WITHOUT
]
REPLAYED = "Idempotency-Replayed"


def equal(first: httpx.Response, second: httpx.Response) -> bool:
    kept = ("content-type", "location", "etag")
    return (first.status_code, first.content, [first.headers.get(name) for name in kept]) == (
        second.status_code,
        second.content,
        [second.headers.get(name) for name in kept],
    )


async def test_every_change_of_the_api_is_made_once(database: Database) -> None:
    wrong: list[str] = []
    seen: Counter[int] = Counter()
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in INITIAL_STATE:
            connection.execute(statement.encode())
        watch = AuditWatch.over(connection)
        clock = StubServiceClock(ahead=14 * 3600)
        async with over(database, service_clock=clock) as served, client(served.url, None) as asking:
            requests = Requests(served, asking, connection)
            for number, change in enumerate(KEYED):
                clock.doubt = Doubt(Cause.OFF, time.time()) if change.in_doubt else None
                who = await signed_in_with_password(database, served, change)
                things = requests.things(change, who.user_id)
                key = f"change number {number:04}"
                watch.begin()
                first = await requests.send(change, things, who, key)
                made = watch.gained().actions
                watch.begin()
                second = await requests.send(change, things, who, key)
                again = watch.gained().actions
                if change.refused or first.status_code >= 400:
                    if change.refused is not (first.status_code >= 400) or REPLAYED in second.headers:
                        wrong.append(f"{change.route}: {first.status_code}, {first.text[:300]}")
                    continue
                seen[first.status_code] += 1
                if made != sorted(change.actions) or REPLAYED in first.headers:
                    wrong.append(f"{change.route}: {first.status_code}, {made}")
                if again or second.headers.get(REPLAYED) != "true" or not equal(first, second):
                    wrong.append(f"{change.route} again: {second.status_code}, {again}; {second.text[:300]}")
    assert not wrong, "\n".join(wrong)
    assert seen[201] >= 10
    assert seen[200] >= 20

"""P20 over HTTP: every change, by a page or by the API, has its audit row in the same transaction.

The test sends a change that works to every route that is not read-only. Triggers record which transaction wrote into
which table, so that a change without its row is found, whatever else was recorded.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg

from appliance.delivery.links.acknowledge_link import AcknowledgeLink, AcknowledgeLinks
from appliance.people import totp
from appliance.people.passwords import Hasher
from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from appliance.web.access.gate import HEADER
from appliance.web.access.identity import csrf_token
from appliance.web.http.cookies import BROWSER
from tests.support.audit_watch import AuditWatch
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.web.accounts import Person, client, signed_in
from tests.support.web.parts import CHEAP, KEYRING
from tests.support.web.rival import RIVAL, found
from tests.support.web.serving import Served, over
from tests.web.access.role_table import TABLE
from tests.web.audit.changes import BY_DEVICES, CHANGES, LEAVING_VERSION, PASSWORD, PREVIEWS, SECRET, Change

INITIAL_STATE: Sequence[str] = (
    """
    INSERT INTO tenants (created_at, updated_at, tenant_id, claim_enabled, claim_mqtt_hash, claim_token_hash)
    VALUES (now(), now(), 'acme', true, 'x', sha256('x'))
    """,
    """
    INSERT INTO subscriptions
      (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)
    VALUES (now(), 'acme', 'main', 'MAIN', 1000, now(), now() + interval '90 days', 'ACTIVE')
    """,
)
"""State before the first change: a tenant with seats."""

A_DEVICE = (
    "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
    " VALUES (now(), now(), 'acme', %(new)s, "
)
WITH_CREDENTIAL = (
    f"WITH device AS ({A_DEVICE} 'ACTIVE', 'main') RETURNING device_id) INSERT INTO device_credentials"
    " (created_at, tenant_id, device_id, mqtt_hash, token_hash, staged_mqtt_hash, staged_at)"
    " SELECT now(), 'acme', device_id, 'x', sha256(device_id::bytea), "
)
A_TENANT = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id, status, claim_enabled, claim_mqtt_hash, claim_token_hash)"
    " VALUES (now(), now(), %(new)s, "
)
A_USER = (
    "INSERT INTO users"
    " (created_at, tenant_id, role, password_hash, password_set_at, email, disabled_at, totp_secret,"
    " second_factor_since)"
    " VALUES (now(), 'acme', 'viewer', '$argon2id$x', now(), "
)
A_TOKEN = (
    "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
    " SELECT sha256(%(new)s::text::bytea), user_id, tenant_id, 't', '{read}', now(), now() + interval '1 day'"
)
A_LINK = (
    "INSERT INTO links (link_hash, purpose, user_id, tenant_id, expires_at) SELECT sha256(%(new)s::text::bytea), "
    "'{}', user_id, tenant_id, now() + interval '1 day' FROM users WHERE user_id = %(person)s RETURNING %(new)s"
)
AN_ALERT = (
    "INSERT INTO fleet_alert (tenant_id, alert_type, fingerprint, severity, summary, created_at, started_at,"
    " last_triggered_at, due_at, status, acknowledged_at, silenced_until, closed_at, close_reason)"
    " VALUES ('acme', 'SYSTEM', %(new)s, 'high', 's', now(), now(), now(), now(), "
)

A_JOB = (
    "WITH hook AS (INSERT INTO integrations (created_at, updated_at, tenant_id, name, type, config)"
    " VALUES (now(), now(), 'acme', %(new)s, 'ntfy', '{}') RETURNING integration_id), road AS (INSERT INTO"
    " integration_routes (created_at, updated_at, tenant_id, name, integration_id, severities)"
    " SELECT now(), now(), 'acme', %(new)s, integration_id, '{low}' FROM hook RETURNING route_id, integration_id),"
    " alert AS (INSERT INTO fleet_alert (tenant_id, alert_type, fingerprint, severity, summary, created_at, started_at,"
    " last_triggered_at, due_at) VALUES ('acme', 'SYSTEM', %(new)s, 'high', 's', now(), now(), now(), now())"
    " RETURNING id) INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, created_at,"
    " next_run_at, status, reason, finished_at) SELECT 'acme', id, route_id, integration_id, 'OPEN', now(), now(), "
)

STOCK: Mapping[str, str] = {
    "new": "SELECT %(new)s",
    "away_peer": "INSERT INTO ingest_instances (instance, name) VALUES (%(new)s, 'hall') RETURNING instance",
    "hold": "INSERT INTO restores (restored_at, made_at) VALUES (now(), now()) RETURNING restore_id",
    "pending": f"{A_DEVICE} 'PENDING', NULL) RETURNING device_id",
    "active": f"{A_DEVICE} 'ACTIVE', 'main') RETURNING device_id",
    "inactive": f"{A_DEVICE} 'INACTIVE', NULL) RETURNING device_id",
    "own": f"{WITH_CREDENTIAL} NULL, NULL FROM device RETURNING device_id",
    "staged": f"{WITH_CREDENTIAL} 'y', now() FROM device RETURNING device_id",
    "site": "INSERT INTO sites (created_at, updated_at, tenant_id, site_id)"
    " VALUES (now(), now(), 'acme', %(new)s) RETURNING site_id",
    "window": "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, name, kind, starts,"
    " ends, time_zone) VALUES (now(), 'x', now(), 'acme', %(new)s, 'once', now() - interval '2 days',"
    " now() + interval '2 days', 'UTC') RETURNING window_id",
    "receiver": "INSERT INTO integrations (created_at, updated_at, tenant_id, name, type, config)"
    ' VALUES (now(), now(), \'acme\', %(new)s, \'ntfy\', \'{"url": "https://push.example/", "topic": "ops"}\')'
    " RETURNING integration_id",
    "route": "INSERT INTO integration_routes (created_at, updated_at, tenant_id, name, integration_id, severities)"
    " SELECT now(), now(), tenant_id, %(new)s, integration_id, '{low}' FROM integrations ORDER BY 5 LIMIT 1"
    " RETURNING route_id",
    "dead": f"{A_JOB} 'DEAD', 'refused', now() FROM road, alert RETURNING job_id",
    "waiting": f"{A_JOB} 'PENDING', NULL, NULL FROM road, alert RETURNING job_id",
    "metric": "INSERT INTO metrics (created_at, updated_at, tenant_id, name)"
    " VALUES (now(), now(), 'acme', %(new)s) RETURNING name",
    "rule": "INSERT INTO alert_rules (created_at, updated_at, tenant_id, name, severity, kind, parameters)"
    " VALUES (now(), now(), 'acme', %(new)s, 'low', 'no_data', '{\"seconds\": 60}') RETURNING rule_id",
    # those whose name is their id, so that it can be typed
    "named_window": "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, window_id, name,"
    " kind, starts, ends, time_zone) SELECT now(), 'x', now(), 'acme', id, id::text, 'once', now() - interval '2 days',"
    " now() + interval '2 days', 'UTC' FROM (SELECT gen_random_uuid() AS id) AS made RETURNING window_id",
    "named_receiver": "INSERT INTO integrations (created_at, updated_at, tenant_id, integration_id, name, type, config)"
    " SELECT now(), now(), 'acme', id, id::text, 'ntfy', '{}' FROM (SELECT gen_random_uuid() AS id) AS made"
    " RETURNING integration_id",
    "named_route": "INSERT INTO integration_routes (created_at, updated_at, tenant_id, route_id, name, integration_id,"
    " severities) SELECT now(), now(), tenant_id, id, id::text, integration_id, '{low}' FROM"
    " (SELECT *, gen_random_uuid() AS id FROM integrations LIMIT 1) AS made RETURNING route_id",
    "named_rule": "INSERT INTO alert_rules (created_at, updated_at, tenant_id, rule_id, name, severity, kind,"
    " parameters) SELECT now(), now(), 'acme', id, id::text, 'low', 'no_data', '{\"seconds\": 60}'"
    " FROM (SELECT gen_random_uuid() AS id) AS made RETURNING rule_id",
    "message": "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)"
    " VALUES (now(), 't', 'acme', 'd', 'telemetry', 'DEVICE_INACTIVE', '{}') RETURNING id",
    "alert": f"{AN_ALERT} 'OPEN', NULL, NULL, NULL, NULL) RETURNING id",
    "acknowledged_alert": f"{AN_ALERT} 'ACKNOWLEDGED', now(), NULL, NULL, NULL) RETURNING id",
    "silenced_alert": f"{AN_ALERT} 'OPEN', NULL, now() + interval '9 days', NULL, NULL) RETURNING id",
    "closed_alert": f"{AN_ALERT} 'CLOSED', NULL, NULL, now(), 'cleared') RETURNING id",
    "tomorrow": "SELECT to_json(now() + interval '1 day') #>> '{}'",
    "replay": "INSERT INTO quarantine_replays (created_at, tenant_id, selection, total, last_id, created_by)"
    " VALUES (now(), 'acme', '{}', 1, 1, 'b') RETURNING replay_id",
    "spare": "INSERT INTO subscriptions"
    " (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)"
    " VALUES (now(), 'acme', %(new)s, 'TEMPORARY', 2, now(), now() + interval '9 days', 'ACTIVE')"
    " RETURNING subscription_id",
    "tenant": f"{A_TENANT} 'ACTIVE', true, 'x', sha256('x')) RETURNING tenant_id",
    "leaving": "INSERT INTO tenants (created_at, updated_at, tenant_id)"
    f" VALUES (now(), '{LEAVING_VERSION}', %(new)s) RETURNING tenant_id",
    "suspended": f"{A_TENANT} 'SUSPENDED', true, 'x', sha256('x')) RETURNING tenant_id",
    "closed": f"{A_TENANT} 'ACTIVE', false, 'x', sha256('x')) RETURNING tenant_id",
    "user": f"{A_USER} %(new)s || '@acme.example', NULL, 'x', now()) RETURNING user_id",
    "disabled_user": f"{A_USER} %(new)s || '@acme.example', now(), NULL, NULL) RETURNING user_id",
    "token_owner": f"{A_USER} 'owner@acme.example', NULL, NULL, NULL)"
    " ON CONFLICT (tenant_id, email) DO UPDATE SET name = 'again' RETURNING user_id",
    "token": f"{A_TOKEN} FROM users WHERE email = 'owner@acme.example' RETURNING token_id",
    "own_token": f"{A_TOKEN} FROM users WHERE user_id = %(person)s RETURNING token_id",
    "other_session": "INSERT INTO sessions"
    " (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept)"
    " SELECT sha256(%(new)s::text::bytea), user_id, tenant_id, now(), now(), now() + '1 h', now() + '1 h', true"
    " FROM users WHERE user_id = %(person)s RETURNING session_id",
    "own_session": "SELECT session_id FROM sessions WHERE user_id = %(person)s",
    "somebody": "SELECT email FROM users WHERE user_id = %(person)s",
    "set_up_link": "INSERT INTO links (link_hash, purpose, expires_at)"
    " VALUES (sha256(%(new)s::text::bytea), 'set-up', now() + interval '1 day') RETURNING %(new)s",
    "password_link": A_LINK.format("password"),
    "code_link": A_LINK.format("second-factor"),
    "notice_link": "WITH hook AS (INSERT INTO integrations (created_at, updated_at, tenant_id, name, type, config)"
    " VALUES (now(), now(), 'acme', %(new)s, 'ntfy', '{}') RETURNING integration_id),"
    f" alert AS ({AN_ALERT} 'OPEN', NULL, NULL, NULL, NULL) RETURNING id)"
    " SELECT jsonb_build_array(id, integration_id) FROM hook, alert",
}
"""The statement that creates each object and returns its id."""


THING = re.compile(r"\{(\w+)\}")


class Requests:
    """Creates the objects of a change and sends its request."""

    def __init__(self, served: Served, asking: httpx.AsyncClient, connection: psycopg.Connection[Any]) -> None:
        self._served = served
        self._asking = asking
        self._connection = connection
        self._number = 0

    def things(self, change: Change, person: Any) -> dict[str, str]:
        """Create the objects of the change and return their ids; ``person`` sends it or signs in with it."""
        named = [*change.needs, *THING.findall(f"{change.path} {change.given}")]
        things = {"code": totp.code(_secret(), int(datetime.now(UTC).timestamp() // totp.STEP)), "reviewed": ""}
        for name in dict.fromkeys(named):
            if name not in things:
                self._number += 1
                parameters = {"new": f"n{self._number}", "person": person}
                made = self._one(STOCK[name], **parameters)
                things[name] = _notice_link(made) if name == "notice_link" else str(made)
        return things

    async def send(
        self, change: Change, things: Mapping[str, str], sender: Person | None, key: str | None = None
    ) -> httpx.Response:
        """Send the request, with an Idempotency-Key if one is given; the sender None is not signed in."""
        method, _, rule = change.route.partition(" ")
        path = THING.sub(lambda place: things[place[1]], change.path)
        matched, _ = self._served.app.url_map.bind("").match(urlsplit(path).path, method, return_rule=True)
        assert matched.rule == rule, "a line must try the route that it names"
        anonymous = {"Cookie": f"{BROWSER.name}=browser", HEADER: csrf_token("browser")}
        headers = anonymous if sender is None else sender.headers()
        self._asking.cookies.clear()  # of the previous sender
        if isinstance(change.given, str):
            headers["Content-Type"] = "text/csv"
        if key is not None:
            headers["Idempotency-Key"] = key
        if "{reviewed}" in str(change.given):
            things = {**things, "reviewed": await self._reviewed(change, path, headers)}
        return await self._asking.request(method, path, headers=headers, **_sent(change, path, things))

    async def _reviewed(self, change: Change, path: str, headers: Mapping[str, str]) -> str:
        """Return the version of the review of a renewal, without which it is not confirmed."""
        given = {**change.given, "step": "review"} if isinstance(change.given, Mapping) else {}
        page = await self._asking.get(path, headers=dict(headers), params=given)
        found = re.search(r'name="seen" value="(\w+)"', page.text)
        assert found is not None, page.text[:700]
        return found[1]

    def _one(self, query: str, **parameters: Any) -> Any:
        row = self._connection.execute(query.encode(), parameters).fetchone()
        assert row is not None, query
        return row[0]


def _sent(change: Change, path: str, things: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the request as arguments of the client."""
    if isinstance(change.given, str):
        text = THING.sub(lambda place: things[place[1]], change.given)
        return {"content": text} if text else {}
    text = THING.sub(lambda place: things.get(place[1], place[0]), json.dumps(change.given))
    text = re.sub(r'ids": \["(\d+)"\]', r'ids": [\1]', text)  # of messages and alerts they are numbers
    return {"json" if path.startswith(("/customer", "/operator")) else "data": json.loads(text)}


def _notice_link(made: Sequence[Any]) -> str:
    """Return the secret of a link for the alert and the integration that were made."""
    alert_id, integration_id = made
    link = AcknowledgeLink("acme", alert_id, UUID(integration_id), 1, 0, int(time.time()) + 60)
    return AcknowledgeLinks(KEYRING).seal(link)


def _secret() -> bytes:
    secret = totp.parse(SECRET)
    assert secret is not None
    return secret


async def signed_in_with_password(database: Database, served: Served, change: Change) -> Person:
    """Return a new signed-in user with a password."""
    role = change.who or Role.ADMIN
    person, kept = signed_in(database.conninfo(), role), await Hasher(CHEAP).hash(PASSWORD)
    sealed = (
        None
        if not change.second_factor
        else served.ports.sign_in._keyring.seal(_secret(), f"users.totp_secret/{person.user_id}")
    )
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "UPDATE users SET password_hash = %s, password_set_at = now(), totp_secret = %s,"
            " second_factor_since = CASE WHEN %s THEN now() END WHERE user_id = %s",
            [kept, sealed, change.second_factor, person.user_id],
        )
    return person


def test_every_route_that_changes_something_is_tried() -> None:
    changing = {route for route in TABLE if not route.startswith("GET ")}
    tried = {change.route for change in CHANGES}
    assert sorted(changing - tried - BY_DEVICES - PREVIEWS.keys()) == [], "add a line to CHANGES with its audit actions"
    assert sorted((tried | PREVIEWS.keys()) - changing) == [], "remove the line of a route that no longer exists"


async def test_every_change_has_its_audit_row_in_its_transaction(database: Database) -> None:
    wrong = []
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in INITIAL_STATE:
            connection.execute(statement.encode())
        watch = AuditWatch.over(connection)
        clock = StubServiceClock(ahead=14 * 3600)
        async with over(database, service_clock=clock) as served, client(served.url, None) as asking:
            requests = Requests(served, asking, connection)
            for change in CHANGES:
                clock.doubt = Doubt(Cause.OFF, time.time()) if change.in_doubt else None
                first = "/set-up/" in change.path  # while nobody is there
                who = None if first else await signed_in_with_password(database, served, change)
                sender = who if change.who else None
                things = requests.things(change, None if who is None else who.user_id)
                watch.begin()
                answer = await requests.send(change, things, sender)
                gained = watch.gained()
                if (answer.status_code >= 400) != change.refused or gained.actions != sorted(change.actions):
                    wrong.append(f"{change.route}: {answer.status_code}, {gained}; {answer.text[:700]}")
                elif gained.kinds != {change.by} or (sender is not None and gained.actors != {sender.email}):
                    wrong.append(f"{change.route}: {gained}")
                aside = [sorted(tables) for tables in watch.unrecorded() if not tables <= change.aside]
                wrong += [f"{change.route}: wrote {tables} aside" for tables in aside]
    assert not wrong, "\n".join(wrong)


async def test_what_lets_somebody_in_asks_for_the_password_again(database: Database) -> None:
    """Whoever finds a browser signed in cannot create an access of their own."""
    asking_again = [change for change in CHANGES if change.who and PASSWORD in str(change.given)]
    assert {change.route for change in asking_again} == {
        "POST /customer/tokens", "POST /profile/password", "POST /profile/tokens/new", "POST /profile/second-factor",
        "POST /profile/second-factor/drop", "POST /users/new", "POST /users/<uuid:user_id>/role",
        "POST /users/<uuid:user_id>/enable", "POST /users/<uuid:user_id>/reset", "POST /customer/users",
        "PATCH /customer/users/<uuid:user_id>", "POST /customer/users/<uuid:user_id>/reset",
    }  # fmt: skip
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in INITIAL_STATE:
            connection.execute(statement.encode())
        watch = AuditWatch.over(connection)
        async with over(database) as served, client(served.url, None) as asking:
            requests = Requests(served, asking, connection)
            for change in asking_again:
                wrong = replace(change, given=json.loads(json.dumps(change.given).replace(PASSWORD, "not mine")))
                who = await signed_in_with_password(database, served, change)
                things = requests.things(change, who.user_id)
                watch.begin()
                answer = await requests.send(wrong, things, who)
                assert answer.status_code in {400, 422}, (change.route, answer.status_code, answer.text)
                assert not {*change.actions}.intersection(watch.gained().actions), change.route


async def test_a_preview_is_sent_like_a_change_and_writes_nothing(database: Database) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in INITIAL_STATE:
            connection.execute(statement.encode())
        watch = AuditWatch.over(connection)
        async with over(database) as served, client(served.url, None) as asking:
            requests = Requests(served, asking, connection)
            for route, (path, given) in PREVIEWS.items():
                who_asks = Role.OPERATOR if path.startswith("/tenants/") else Role.ADMIN
                change = Change(route, path, [], given, who_asks)
                who = await signed_in_with_password(database, served, change)
                things = requests.things(change, who.user_id)
                watch.begin()
                answer = await requests.send(change, things, who)
                assert answer.status_code == 200, (route, answer.text)
                assert watch.gained().actions == [], route
                assert list(watch.unrecorded()) == [], route


async def test_nothing_that_is_only_read_writes(database: Database) -> None:
    """A change by GET would need no CSRF token either."""
    rival, operator = found(database), signed_in(database.conninfo(), Role.OPERATOR)
    query, wrote = f"?tenant={RIVAL}&history=keep&metric=temperature", []
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        watch = AuditWatch.over(connection)
        async with over(database) as served, client(served.url, operator) as asking:
            for rule in served.app.url_map.iter_rules():
                if "GET" in (rule.methods or ()) and not rule.websocket:
                    watch.begin()
                    answer = await asking.get(rival.path(rule) + query)
                    assert answer.status_code < 500, (rule, answer.text)
                    wrote += [f"{rule}: {tables}" for tables in watch.unrecorded()]
                    assert watch.gained().actions == [], rule
    assert wrote == []

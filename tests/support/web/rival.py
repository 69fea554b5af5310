"""Another tenant with one thing of each kind, whose ids no request of the first tenant may find."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from werkzeug.routing import Rule

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import signed_in

PLACE = re.compile(r"<(?:(?P<kind>\w+)(?:\((?P<one>\w+)[^)]*\))?:)?(?P<name>\w+)>")


RIVAL = "globex"


@dataclass(frozen=True, slots=True)
class Rival:
    """The ids of what B has, or of nothing at all, by the name of a place in a path."""

    places: dict[str, str]

    def path(self, rule: Rule) -> str:
        """Return the path of the rule with these in it."""
        return PLACE.sub(lambda found: found["one"] or self.places[found["name"]], rule.rule)

    def hide(self, text: str) -> str:
        """Return a text without the ids, and without what is new in each answer."""
        for value in sorted(self.places.values(), key=len, reverse=True):
            text = text.replace(value, "ID")
        return re.sub(r"[0-9a-f]{8}(?=</span>)|\b\d\d:\d\d:\d\d\b", "", text)


NOTHING = Rival(
    {
        "device_id": "pump-9", "site_id": "quay-9", "name": "humid_9", "tenant_id": "initech",
        "subscription_id": "SUB-9", "message_id": "99999999", "alert_id": "77777777",
        "replay_id": "88888888", "deletion_id": "55555555", "rule_id": str(uuid4()),
        "user_id": str(uuid4()), "token_id": str(uuid4()), "session_id": str(uuid4()),
        "window_id": str(uuid4()), "job_id": "22222222", "request_id": "66666666",
        "integration_id": str(uuid4()), "route_id": str(uuid4()),
        "secret": "s" * 43, "token": "s" * 43, "address": "nothing",
        "instance": "fffffffffff9",
    }
)  # fmt: skip
"""Ids of the same form that nobody has."""


def found(database: Database) -> Rival:
    """Add one thing of each kind for B, and return their ids."""
    person = signed_in(database.conninfo(), Role.ADMIN, RIVAL)
    with psycopg.connect(database.conninfo()) as connection:

        def one(query: str, **parameters: Any) -> str:
            row = connection.execute(query.encode(), {"tenant": RIVAL, "user": person.user_id, **parameters}).fetchone()
            assert row is not None
            return str(row[0])

        return Rival(
            {
                "tenant_id": RIVAL,
                "device_id": one(
                    "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
                    " VALUES (now(), now(), %(tenant)s, 'pump-1', 'PENDING') RETURNING device_id"
                ),
                "site_id": one(
                    "INSERT INTO sites (created_at, updated_at, tenant_id, site_id)"
                    " VALUES (now(), now(), %(tenant)s, 'quay-1') RETURNING site_id"
                ),
                "name": one(
                    "INSERT INTO metrics (created_at, updated_at, tenant_id, name)"
                    " VALUES (now(), now(), %(tenant)s, 'humid_1') RETURNING name"
                ),
                "window_id": one(
                    "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, name, kind,"
                    " starts, ends, time_zone) VALUES (now(), 'b', now(), %(tenant)s, 'wash', 'once',"
                    " now() - '2 d'::interval, now() + '2 d'::interval, 'UTC') RETURNING window_id"
                ),
                "integration_id": one(
                    "INSERT INTO integrations (created_at, updated_at, tenant_id, name, type, config)"
                    " VALUES (now(), now(), %(tenant)s, 'hook', 'webhook', '{}') RETURNING integration_id"
                ),
                "route_id": one(
                    "INSERT INTO integration_routes (created_at, updated_at, tenant_id, name, integration_id,"
                    " severities)"
                    " SELECT now(), now(), %(tenant)s, 'road', integration_id, '{low}' FROM integrations"
                    " WHERE tenant_id = %(tenant)s RETURNING route_id"
                ),
                "subscription_id": one(
                    "INSERT INTO subscriptions"
                    " (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start, term_end,"
                    " status)"
                    ""
                    " VALUES (now(), 'SUB-' || nextval('subscription_numbers'), %(tenant)s, 'MAIN', 7, now(),"
                    " now() + '9 d', 'ACTIVE') RETURNING subscription_id"
                ),
                "request_id": one(
                    "INSERT INTO renewal_requests (request_id, tenant_id, subscription_id, hash, again, changed,"
                    " answer, asked_at, until) OVERRIDING SYSTEM VALUE"
                    " SELECT 44444444, tenant_id, subscription_id, '', false, true,"
                    " jsonb_build_object('subscription_id', subscription_id, 'changed', true,"
                    " 'previous_term_end', term_start, 'new_term_end', term_end, 'device_limit', 7,"
                    " 'devices_deactivated', '[]'::jsonb), now(), term_end"
                    " FROM subscriptions WHERE tenant_id = %(tenant)s RETURNING request_id"
                ),
                "message_id": one(
                    "INSERT INTO quarantine_events"
                    " (id, ingested_at, topic, tenant_id, device_id, kind, reason, payload) OVERRIDING SYSTEM VALUE"
                    " VALUES (55555555, now(), 't', %(tenant)s, 'pump-1', 'telemetry', 'UNREGISTERED_DEVICE', '{}')"
                    " RETURNING id"
                ),
                "rule_id": one(
                    "INSERT INTO alert_rules (created_at, updated_at, tenant_id, name, severity, kind, parameters)"
                    " VALUES (now(), now(), %(tenant)s, 'humid', 'low', 'change', '{\"metric\": \"m\"}')"
                    " RETURNING rule_id"
                ),
                "alert_id": one(
                    "INSERT INTO fleet_alert (id, tenant_id, device_id, alert_type, fingerprint, severity, summary,"
                    " created_at, started_at, last_triggered_at, due_at) VALUES"
                    " (33333333, %(tenant)s, 'pump-1', 'SYSTEM', 'f', 'high', 's', now(), now(), now(), now())"
                    " RETURNING id"
                ),
                "job_id": one(
                    "INSERT INTO delivery_jobs (job_id, tenant_id, alert_id, route_id, integration_id, event, status,"
                    " reason, created_at, next_run_at, finished_at) SELECT 11111111, %(tenant)s, 33333333, route_id,"
                    " integration_id, 'OPEN', 'DEAD', 'refused', now(), now(), now() FROM integration_routes"
                    " WHERE tenant_id = %(tenant)s RETURNING job_id"
                ),
                "replay_id": one(
                    "INSERT INTO quarantine_replays"
                    " (created_at, replay_id, tenant_id, selection, total, last_id, created_by)"
                    " OVERRIDING SYSTEM VALUE VALUES (now(), 44444444, %(tenant)s, '{}', 1, 1, 'b') RETURNING replay_id"
                ),
                "deletion_id": one(
                    "INSERT INTO tenant_deletions (deletion_id, deleted_tenant, requested_at, requested_by, status,"
                    " removed_at, removed_by_transaction, finished_at) OVERRIDING SYSTEM VALUE VALUES (12345678,"
                    " %(tenant)s || '-before', now(), 'b', 'DONE', now(), '3', now()) RETURNING deletion_id"
                ),
                "user_id": str(person.user_id),
                "session_id": one("SELECT session_id FROM sessions WHERE user_id = %(user)s"),
                "token_id": one(
                    "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
                    " VALUES (sha256('t'), %(user)s, %(tenant)s, 't', '{read}', now(), now() + '1 day')"
                    " RETURNING token_id"
                ),
                "instance": one(
                    "INSERT INTO ingest_instances (instance, name) VALUES ('fffffffffff1', 'hall') RETURNING instance"
                ),
                "secret": "t" * 43,
                "token": "t" * 43,
                "address": "something",
            }
        )

"""A tenant for tests of renewals: a MAIN with an ADDON, a TEMPORARY beside them, devices in every status; and checks.

The checks are of P6, P7, P9 and P16 to P18, and are made from a connection that has nothing to do with who wrote.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import psycopg

from appliance.renewals.answer import Answer
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from tests.support.tenants import ACTIVE_WITHOUT_SEAT, GRACE, NOW, OUT_OF_BALANCE

DAY = timedelta(days=1)
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})
MAIN, ADDON, OTHER = "SUB-20260101-00001", "SUB-20260101-00002", "SUB-20260101-00003"
ENDS = NOW + 20 * DAY
ACTIVE = ("a1", "a2", "a3", "a4", "a5")
"""On the MAIN, each with a credential of its own."""
LIMIT = 8
FEWER = Request(MAIN, 365, new_device_limit=3, devices_to_deactivate=("a4", "a2"))
"""A renewal in which two devices stop."""

TENANT = """
INSERT INTO tenants (tenant_id, provisioning, created_at, updated_at) VALUES (%(tenant)s, 'auto', %(now)s, %(now)s)
"""
SUBSCRIPTIONS = """
INSERT INTO subscriptions (tenant_id, subscription_id, subscription_type, parent_subscription_id, device_limit,
  term_start, term_end, status, created_at)
VALUES (%(tenant)s, %(main)s, 'MAIN', NULL, %(limit)s, %(start)s, %(end)s, 'ACTIVE', %(start)s),
  (%(tenant)s, %(addon)s, 'ADDON', %(main)s, 2, %(start)s, %(end)s, 'ACTIVE', %(start)s),
  (%(tenant)s, %(other)s, 'TEMPORARY', NULL, 4, %(start)s, %(end)s, 'ACTIVE', %(start)s)
"""
TERMS = """
INSERT INTO subscription_terms
  (tenant_id, subscription_id, kind, term_start, term_end, device_limit, plan_id, actor, bought_at)
SELECT tenant_id, subscription_id, 'SOLD', term_start, term_end, device_limit, NULL, 'operator', term_start
FROM subscriptions WHERE tenant_id = %(tenant)s
"""
DEVICES = """
INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, created_at, updated_at)
SELECT %(tenant)s, n, 'ACTIVE', %(main)s, %(now)s, %(now)s FROM unnest(%(devices)s::text[]) AS n
UNION ALL VALUES (%(tenant)s, 'p1', 'PENDING', NULL, %(now)s, %(now)s),
  (%(tenant)s, 'i1', 'INACTIVE', NULL, %(now)s, %(now)s), (%(tenant)s, 'o1', 'ACTIVE', %(other)s, %(now)s, %(now)s)
"""
CREDENTIALS = """
INSERT INTO device_credentials (tenant_id, device_id, mqtt_hash, token_hash, created_at)
SELECT tenant_id, device_id, 'x', sha256((tenant_id || device_id)::bytea), created_at
FROM device_registry WHERE tenant_id = %(tenant)s AND subscription_id = %(main)s
"""

CHAIN = """
SELECT t.subscription_id, t.kind, t.term_start, t.term_end, t.bought_at, c.term_end
FROM subscription_terms AS t
LEFT JOIN LATERAL (SELECT term_end FROM subscription_terms AS c
  WHERE c.tenant_id = t.tenant_id AND c.corrects_term_id = t.term_id ORDER BY c.term_id DESC LIMIT 1) AS c ON true
WHERE t.tenant_id = %s AND t.kind <> 'CORRECTED' ORDER BY t.subscription_id, t.term_id
"""
RENEWED = """
SELECT s.subscription_id FROM subscriptions AS s JOIN {written}
  AND (w.tenant_id, w.subscription_id) = (s.tenant_id, s.subscription_id)
WHERE s.tenant_id = %s AND s.subscription_type <> 'ADDON'
"""
APART = """
SELECT a.subscription_id FROM subscriptions AS a JOIN subscriptions AS m
  ON m.tenant_id = a.tenant_id AND m.subscription_id = a.parent_subscription_id
WHERE a.tenant_id = %s AND a.term_end <> m.term_end
"""


def found(connection: psycopg.Connection[Any], tenant: str, limit: int = LIMIT, end: datetime = ENDS) -> None:
    """Add the tenant with all that it has."""
    values = {
        "tenant": tenant, "main": MAIN, "addon": ADDON, "other": OTHER, "limit": limit, "devices": list(ACTIVE),
        "start": NOW - 300 * DAY, "end": end, "now": NOW - 200 * DAY,
    }  # fmt: skip
    for statement in (TENANT, SUBSCRIPTIONS, TERMS, DEVICES, CREDENTIALS):
        connection.execute(statement.encode(), values)


def column(connection: psycopg.Connection[Any], statement: str, *values: object) -> list[Any]:
    """Return the first column of the rows."""
    return [row[0] for row in connection.execute(statement.encode(), values).fetchall()]


def end_of(connection: psycopg.Connection[Any], tenant: str, subscription: str = MAIN) -> datetime:
    """Return the end of its term."""
    statement = "SELECT term_end FROM subscriptions WHERE tenant_id = %s AND subscription_id = %s"
    [end] = column(connection, statement, tenant, subscription)
    assert isinstance(end, datetime)
    return end


def check_family(connection: psycopg.Connection[Any], tenant: str, answers: Iterable[Answer]) -> None:
    """Check all that holds after any change: seats, terms, and that each answer tells of one renewal, whole."""
    for query in (OUT_OF_BALANCE, ACTIVE_WITHOUT_SEAT):
        assert connection.execute(query.encode(), {"tenant": tenant}).fetchall() == []
    assert column(connection, APART, tenant) == [], "an ADDON ends with its MAIN"
    _check_chain(connection, tenant)
    changed = [answer for answer in answers if answer.changed]
    once = Counter(answer.subscription_id for answer in changed)
    for answer in changed:
        assert answer.new_term_end > answer.previous_term_end, "a renewal never takes paid days"
    actions = "SELECT object_id FROM audit_log WHERE tenant_id = %s AND action = %s"
    assert Counter(column(connection, actions, tenant, "subscription.renew")) == once
    kept = "SELECT subscription_id FROM renewal_requests WHERE tenant_id = %s AND changed"
    assert Counter(column(connection, kept, tenant)) == once
    for written in ("subscription_audit AS w ON event_type = 'RENEWED'", "subscription_terms AS w ON kind = 'RENEWED'"):
        query = RENEWED.format(written=written)
        assert Counter(column(connection, query, tenant)) == once, written
    stopped = {name for answer in changed for name in answer.devices_deactivated}
    deactivated = Counter(column(connection, actions, tenant, "device.deactivate"))
    assert all(deactivated[name] >= 1 for name in stopped)


def _check_chain(connection: psycopg.Connection[Any], tenant: str) -> None:
    """Check that each term that was bought begins where the one before ends, corrected or not; or later, if lapsed."""
    ends: dict[str, datetime] = {}
    for subscription, kind, start, end, bought, corrected in connection.execute(CHAIN.encode(), [tenant]).fetchall():
        if kind == "RENEWED":
            assert start == max(ends[subscription], bought), (subscription, start)
        ends[subscription] = corrected or end
    for subscription, end in connection.execute(
        b"SELECT subscription_id, term_end FROM subscriptions WHERE tenant_id = %s", [tenant]
    ).fetchall():
        assert ends[subscription] == end, f"{subscription}: the newest term is not the one that runs"

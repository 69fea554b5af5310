"""Every request that changes something, and the actions that the audit must record. A new route gets its line here.

Each route has one line or more, in the order of ``role_table``. ``{device}`` and the like in a path or body stand for
objects of ``STOCK``, each created for this request alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.people.role import Role


@dataclass(frozen=True, slots=True)
class Change:
    """One request, and the actions that its audit rows have."""

    route: str
    """As in ``role_table``."""
    path: str
    actions: Sequence[str]
    given: Mapping[str, Any] | str = ""
    """The fields of the form, the members of the JSON body, or for a text the CSV file itself."""
    who: Role | None = Role.ADMIN
    """None: a visitor who is not signed in yet."""
    needs: Sequence[str] = ()
    """Objects that must exist and that the request does not name."""
    refused: bool = False
    """Whether the answer is a refusal, which is recorded too."""
    aside: frozenset[str] = frozenset()
    """Tables that it writes in transactions without an audit row; a comment gives the reason."""
    in_doubt: bool = False
    """Whether the clock is in doubt."""
    by: str = "user"
    """The kind of actor that the rows name."""
    second_factor: bool = False
    """Whether the sender has a second factor."""


PASSWORD = "a heron in a wet field"
"""The password of the sender."""
NEW_PASSWORD = "a walrus on a bicycle"
SECRET = "KRUGKIDROVUWG2ZAMJZG653OEBTG66BA"
"""Secret of a second factor, as a person types it."""
DAY = "2099-12-31"
OPERATOR = Role.OPERATOR

DEVICE = {"device_id": "{new}", "site_id": "{new}"}
CREATED = ("credential.create", "device.create")
FILE = "device_id,name\n{new},Pump\n"
PROFILE = {"name": "Kim", "time_zone": "Europe/Oslo", "theme": "dark", "shortcuts": "on"}
TOKEN = {"name": "cron", "scopes": ["read"], "days": 9}
TENANT = {"name": "New name", "time_zone": "Europe/Oslo", "provisioning": "off", "rate": "3", "burst": "9"}
LEAVING_VERSION = "2026-11-01T00:00:00+00:00"
SOLD = {"subscription_type": "TEMPORARY", "device_limit": 5, "term_days": 30}
INVITED = {"email": "{new}@acme.example", "role": "viewer"}
HELD = {"device_limit": "7", "last_day": DAY, "hold_reason": "unpaid"}
NTFY_TYPED = {"name": "{new}", "type": "ntfy", "config.topic": "ops", "enabled": "on"}
ROUTE_TYPED = {
    "name": "{new}", "integration_id": "{receiver}", "severities": "low", "deliver_on": "OPEN", "enabled": "on",
}  # fmt: skip
SUNDAYS_TYPED = {
    "name": "{new}", "kind": "weekly", "weekdays": "sun", "start_time": "22:00", "end_time": "02:00", "which": "all",
}  # fmt: skip
SUNDAYS = {"name": "{new}", "kind": "weekly", "weekdays": ["sun"], "start_time": "22:00", "end_time": "02:00"}
RULE = {
    "name": "Silence",
    "kind": "no_data",
    "severity": "high",
    "seconds": "5",
    "seconds_unit": "min",
    "enabled": "on",
}
DESCRIBED = ("tenant.describe", "tenant.limit", "tenant.provisioning")
SILENCED = {"until": "{tomorrow}", "reason": "being repaired"}
USED_UP = frozenset({"links", "users"})
"""The link and the code of a second step are used up whether or not they succeed."""
SHUT_OUT = ("credential.revoke", "device.deactivate")

CHANGES: Sequence[Change] = (
    # the sign-in; the set-up first, while there is no user
    Change(
        "POST /set-up/<secret>",
        "/set-up/{set_up_link}",
        ("credential.create", "device.create", "subscription.add", "tenant.create", "user.add", "user.set_profile",
         "user.sign_in"),
        {"email": "kim@first.example", "password": PASSWORD, "organisation": "First", "time_zone": "Europe/Oslo"},
        None,
    ),
    Change("POST /sign-in", "/sign-in", ["user.sign_in"], {"email": "{somebody}", "password": PASSWORD}, None),
    Change("POST /sign-in", "/sign-in", ["user.sign_in_failed"], {"email": "{somebody}", "password": "no"}, None,
        refused=True),
    Change("POST /sign-in/code", "/sign-in/code", ["user.sign_in"], {"link": "{code_link}", "code": "{code}"}, None,
        aside=USED_UP, second_factor=True),
    Change("POST /sign-out", "/sign-out", ["user.sign_out"]),
    Change("POST /link/<secret>", "/link/{password_link}", ["user.set_password"], {"password": NEW_PASSWORD}, None),
    Change(
        "POST /acknowledge/<token>", "/acknowledge/{notice_link}", ["alert.acknowledge"], {}, None, by="integration"
    ),
    # backups
    Change("POST /system/backup", "/system/backup", ["backup.request"], {}, OPERATOR),
    Change("POST /operator/system/backup", "/operator/system/backup", ["backup.request"], {}, OPERATOR),
    # the clock
    Change("POST /system/clock", "/system/clock", ["clock.confirm"], {}, OPERATOR, in_doubt=True),
    Change("POST /operator/system/clock/confirm", "/operator/system/clock/confirm", ["clock.confirm"], {}, OPERATOR,
        in_doubt=True),
    # notices that are held since a restore
    Change("POST /system/restore", "/system/restore", ["restore.confirm"], {}, OPERATOR, needs=["hold"]),
    Change("POST /operator/system/restore/confirm", "/operator/system/restore/confirm", ["restore.confirm"], {},
        OPERATOR, needs=["hold"]),
    # devices, the pages
    Change("POST /devices/+bulk", "/devices/+bulk", ["device.approve"], {"step": "approve", "device": "{pending}"}),
    Change("POST /devices/+close-claim", "/devices/+close-claim", ["tenant.claim"]),
    Change("POST /devices/+new", "/devices/+new", CREATED, DEVICE),
    Change(
        "POST /devices/+import", "/devices/+import", CREATED, {"text": FILE, "step": "import", "credentials": "on"}
    ),
    Change("POST /devices/<device_id>/edit", "/devices/{active}/edit", ["device.describe"], {"name": "Pump"}),
    Change(
        "POST /devices/<device_id>/edit",
        "/devices/{active}/edit?tenant=acme",
        ["device.limit"],
        {"rate": "2", "burst": "3"},
        OPERATOR,
    ),
    Change("POST /devices/<device_id>/approve", "/devices/{pending}/approve", ["device.approve"]),
    Change("POST /devices/<device_id>/reject", "/devices/{pending}/reject", ["device.reject"]),
    Change("POST /devices/<device_id>/deactivate", "/devices/{active}/deactivate", ["device.deactivate"]),
    Change(
        "POST /devices/<device_id>/deactivate",
        "/devices/{own}/deactivate",
        SHUT_OUT,
        {"revoke_credential": "on"},
    ),
    Change("POST /devices/<device_id>/reactivate", "/devices/{inactive}/reactivate", ["device.reactivate"]),
    Change(
        "POST /devices/<device_id>/move", "/devices/{active}/move", ["device.move"], {"subscription_id": "{spare}"}
    ),
    Change("POST /devices/<device_id>/revoke", "/devices/{own}/revoke", ["device.revoke"], {"typed": "{own}"}),
    Change("POST /devices/<device_id>/switch", "/devices/{staged}/switch", ["credential.switch"]),
    Change("POST /devices/<device_id>/rotate", "/devices/{own}/rotate", ["credential.rotate"], {"when": "later"}),
    Change(
        "POST /devices/<device_id>/delete",
        "/devices/{own}/delete",
        ["device.delete"],
        {"history": "erase", "typed": "{own}"},
    ),
    # devices, the JSON API
    Change("POST /customer/devices", "/customer/devices", CREATED, DEVICE),
    Change(
        "PATCH /customer/devices/<device_id>", "/customer/devices/{active}", ["device.describe"], {"site_id": "{new}"}
    ),
    Change("DELETE /customer/devices/<device_id>", "/customer/devices/{active}?history=keep", ["device.delete"]),
    Change(
        "POST /customer/devices/<device_id>/approve", "/customer/devices/{pending}/approve", ["device.approve"], {}
    ),
    Change("POST /customer/devices/<device_id>/reject", "/customer/devices/{pending}/reject", ["device.reject"]),
    Change(
        "POST /customer/devices/<device_id>/deactivate",
        "/customer/devices/{own}/deactivate",
        SHUT_OUT,
        {"revoke_credential": True},
    ),
    Change(
        "POST /customer/devices/<device_id>/reactivate",
        "/customer/devices/{inactive}/reactivate",
        ["device.reactivate"],
        {},
    ),
    Change(
        "POST /customer/devices/<device_id>/move",
        "/customer/devices/{active}/move",
        ["device.move"],
        {"subscription_id": "{spare}"},
    ),
    Change(
        "POST /customer/devices/<device_id>/rotate",
        "/customer/devices/{own}/rotate",
        ["credential.rotate", "credential.switch"],
        {"now": True},
    ),
    Change("POST /customer/devices/<device_id>/switch", "/customer/devices/{staged}/switch", ["credential.switch"]),
    Change("POST /customer/devices/<device_id>/revoke", "/customer/devices/{own}/revoke", ["device.revoke"]),
    Change(
        "POST /customer/devices/bulk",
        "/customer/devices/bulk",
        ["device.deactivate"],
        {"devices": ["{active}"], "step": "deactivate"},
    ),
    Change("POST /customer/devices/import", "/customer/devices/import?credentials=true", CREATED, FILE),
    # sites and metrics, the pages
    Change("POST /sites/+new", "/sites/+new", ["site.create"], {"site_id": "{new}"}),
    Change("POST /sites/<site_id>", "/sites/{site}", ["site.update"], {"name": "Quay"}),
    Change("POST /sites/<site_id>/delete", "/sites/{site}/delete", ["site.delete"]),
    Change("POST /metric-names/+new", "/metric-names/+new", ["metric.create"], {"name": "{new}"}),
    Change("POST /metric-names/<name>", "/metric-names/{metric}", ["metric.update"], {"label": "Humidity"}),
    Change("POST /metric-names/<name>/delete", "/metric-names/{metric}/delete", ["metric.delete"]),
    # maintenance, the pages
    Change(
        "POST /maintenance/<window_id>/end", "/maintenance/{window}/end", ["maintenance.end"], who=Role.RESPONDER
    ),
    Change(
        "POST /maintenance/<window_id>/delete",
        "/maintenance/{named_window}/delete",
        ["maintenance.delete"],
        {"typed": "{named_window}"},
    ),
    Change("POST /maintenance/+new", "/maintenance/+new", ["maintenance.create"], SUNDAYS_TYPED),
    Change("POST /maintenance/<window_id>", "/maintenance/{window}", ["maintenance.update"], SUNDAYS_TYPED),
    # integrations and routes, the pages
    Change("POST /integrations/+new", "/integrations/+new", ["integration.create"], NTFY_TYPED),
    Change(
        "POST /integrations/<integration_id>", "/integrations/{receiver}", ["integration.update"], NTFY_TYPED
    ),
    Change("POST /integrations/<integration_id>/test", "/integrations/{receiver}/test", ["integration.test"]),
    Change("POST /integrations/+new", "/integrations/+new", ["integration.try"], NTFY_TYPED | {"do": "try"}),
    Change(
        "POST /integrations/<integration_id>/switch",
        "/integrations/{receiver}/switch",
        ["integration.disable"],
        {"enabled": "false"},
    ),
    Change(
        "POST /integrations/<integration_id>/delete",
        "/integrations/{named_receiver}/delete",
        ["integration.delete"],
        {"typed": "{named_receiver}"},
    ),
    Change("POST /routes/+new", "/routes/+new", ["route.create"], ROUTE_TYPED),
    Change("POST /routes/<route_id>", "/routes/{route}", ["route.update"], ROUTE_TYPED),
    Change(
        "POST /routes/<route_id>/switch",
        "/routes/{route}/switch",
        ["route.disable"],
        {"enabled": "false"},
        needs=["receiver"],
    ),
    Change(
        "POST /routes/<route_id>/delete",
        "/routes/{named_route}/delete",
        ["route.delete"],
        {"typed": "{named_route}"},
        needs=["receiver"],
    ),
    # integrations and routes, the JSON API
    Change(
        "POST /customer/integrations",
        "/customer/integrations",
        ["integration.create"],
        {"name": "{new}", "type": "ntfy", "config": {"topic": "ops"}},
    ),
    Change(
        "PATCH /customer/integrations/<integration_id>",
        "/customer/integrations/{receiver}",
        ["integration.update"],
        {"secrets": {"token": "tk_1234567890"}},
    ),
    Change(
        "PATCH /customer/integrations/<integration_id>",
        "/customer/integrations/{receiver}",
        ["integration.disable"],
        {"enabled": False},
    ),
    Change(
        "DELETE /customer/integrations/<integration_id>", "/customer/integrations/{receiver}", ["integration.delete"]
    ),
    Change(
        "POST /customer/integrations/<integration_id>/test",
        "/customer/integrations/{receiver}/test",
        ["integration.test"],
    ),
    Change(
        "POST /customer/deliveries/<int:job_id>/retry",
        "/customer/deliveries/{dead}/retry",
        ["delivery.retry"],
        who=Role.RESPONDER,
    ),
    Change(
        "POST /customer/deliveries/<int:job_id>/cancel",
        "/customer/deliveries/{waiting}/cancel",
        ["delivery.cancel"],
        who=Role.RESPONDER,
    ),
    Change(
        "POST /customer/deliveries/retry",
        "/customer/deliveries/retry",
        ["delivery.retry"],
        needs=["dead"],
        who=Role.RESPONDER,
    ),
    Change("POST /deliveries/<int:job_id>/retry", "/deliveries/{dead}/retry", ["delivery.retry"], who=Role.RESPONDER),
    Change("POST /deliveries/<int:job_id>/cancel", "/deliveries/{waiting}/cancel", ["delivery.cancel"]),
    Change("POST /deliveries/+retry", "/deliveries/+retry", ["delivery.retry"], needs=["dead"], who=Role.RESPONDER),
    Change(
        "POST /customer/integration-routes",
        "/customer/integration-routes",
        ["route.create"],
        {"name": "{new}", "integration_id": "{receiver}", "severities": ["low"]},
    ),
    Change(
        "PATCH /customer/integration-routes/<route_id>",
        "/customer/integration-routes/{route}",
        ["route.update"],
        {"priority": 1},
        needs=["receiver"],
    ),
    Change(
        "DELETE /customer/integration-routes/<route_id>",
        "/customer/integration-routes/{route}",
        ["route.delete"],
        needs=["receiver"],
    ),
    # maintenance, the JSON API
    Change("POST /customer/maintenance", "/customer/maintenance", ["maintenance.create"], SUNDAYS),
    Change(
        "PATCH /customer/maintenance/<window_id>",
        "/customer/maintenance/{window}",
        ["maintenance.update"],
        {"reason": "New floor"},
    ),
    Change("DELETE /customer/maintenance/<window_id>", "/customer/maintenance/{window}", ["maintenance.delete"]),
    Change(
        "POST /customer/maintenance/<window_id>/end",
        "/customer/maintenance/{window}/end",
        ["maintenance.end"],
        who=Role.RESPONDER,
    ),
    # sites and metrics, the JSON API
    Change("POST /customer/sites", "/customer/sites", ["site.create"], {"site_id": "{new}"}),
    Change("PATCH /customer/sites/<site_id>", "/customer/sites/{site}", ["site.update"], {"name": "Quay"}),
    Change("DELETE /customer/sites/<site_id>", "/customer/sites/{site}", ["site.delete"]),
    Change("POST /customer/metrics", "/customer/metrics", ["metric.create"], {"name": "{new}"}),
    Change("PATCH /customer/metrics/<name>", "/customer/metrics/{metric}", ["metric.update"], {"unit": "%"}),
    Change("DELETE /customer/metrics/<name>", "/customer/metrics/{metric}", ["metric.delete"]),
    # alert rules, the pages
    Change("POST /rules/new", "/rules/new", ["rule.create"], RULE | {"name": "{new}"}),
    Change("POST /rules/<rule_id>", "/rules/{rule}", ["rule.update"], RULE),
    Change("POST /rules/<rule_id>/switch", "/rules/{rule}/switch", ["rule.disable"], {"enabled": "false"}),
    Change(
        "POST /rules/<rule_id>/delete",
        "/rules/{named_rule}/delete",
        ["rule.delete"],
        {"typed": "{named_rule}"},
    ),
    # alert rules, the JSON API
    Change(
        "POST /customer/alert-rules",
        "/customer/alert-rules",
        ["rule.create"],
        {"name": "{new}", "severity": "low", "kind": "no_data", "seconds": 60},
    ),
    Change("PATCH /customer/alert-rules/<rule_id>", "/customer/alert-rules/{rule}", ["rule.update"], {"seconds": 90}),
    Change("DELETE /customer/alert-rules/<rule_id>", "/customer/alert-rules/{rule}", ["rule.delete"]),
    # alerts, the pages
    Change(
        "POST /alerts/<int:alert_id>/<any(acknowledge, unacknowledge, unsilence):step>",
        "/alerts/{alert}/acknowledge",
        ["alert.acknowledge"],
        who=Role.RESPONDER,
    ),
    Change(
        "POST /alerts/<int:alert_id>/<any(silence, close):step>",
        "/alerts/{alert}/silence",
        ["alert.silence"],
        {"for": "3600", "reason": "being repaired"},
    ),
    Change(
        "POST /alerts/<int:alert_id>/<any(silence, close):step>",
        "/alerts/{alert}/close",
        ["alert.close"],
        {"note": "repaired"},
    ),
    Change("POST /alerts/<int:alert_id>/notes", "/alerts/{alert}/notes", ["alert.note"], {"note": "seen"}),
    Change(
        "POST /alerts/+bulk",
        "/alerts/+bulk",
        ["alert.close"],
        {"step": "close", "alert": "{alert}", "note": "repaired"},
    ),
    # alerts
    Change("PATCH /customer/alerts/<int:alert_id>", "/customer/alerts/{alert}", ["alert.note"], {"note": "seen"}),
    Change("DELETE /customer/alerts/<int:alert_id>", "/customer/alerts/{closed_alert}", ["alert.delete"]),
    Change(
        "POST /customer/alerts/<int:alert_id>/acknowledge",
        "/customer/alerts/{alert}/acknowledge",
        ["alert.acknowledge"],
        {"note": "on it"},
        Role.RESPONDER,
    ),
    Change(
        "POST /customer/alerts/<int:alert_id>/unacknowledge",
        "/customer/alerts/{acknowledged_alert}/unacknowledge",
        ["alert.unacknowledge"],
    ),
    Change("POST /customer/alerts/<int:alert_id>/close", "/customer/alerts/{alert}/close", ["alert.close"]),
    Change(
        "POST /customer/alerts/<int:alert_id>/silence",
        "/customer/alerts/{alert}/silence",
        ["alert.silence"],
        SILENCED,
    ),
    Change(
        "POST /customer/alerts/<int:alert_id>/unsilence",
        "/customer/alerts/{silenced_alert}/unsilence",
        ["alert.unsilence"],
    ),
    Change(
        "POST /customer/alerts/bulk",
        "/customer/alerts/bulk",
        ["alert.close"],
        {"action": "close", "alert_ids": ["{alert}"]},
    ),
    # quarantine
    Change("POST /quarantine/replay", "/quarantine/replay?id={message}", ["quarantine.replay"]),
    Change("POST /quarantine/dismiss", "/quarantine/dismiss?id={message}", ["quarantine.dismiss"]),
    Change(
        "POST /quarantine/replays/<int:replay_id>/cancel",
        "/quarantine/replays/{replay}/cancel",
        ["quarantine.cancel_replay"],
    ),
    Change(
        "POST /customer/quarantine/replay", "/customer/quarantine/replay", ["quarantine.replay"], {"ids": ["{message}"]}
    ),
    Change(
        "POST /customer/quarantine/replays/<int:replay_id>/cancel",
        "/customer/quarantine/replays/{replay}/cancel",
        ["quarantine.cancel_replay"],
    ),
    Change(
        "POST /customer/quarantine/dismiss",
        "/customer/quarantine/dismiss",
        ["quarantine.dismiss"],
        {"ids": ["{message}"]},
    ),
    # users and tokens
    Change("POST /users/new", "/users/new", ["user.add", "user.invite"], {**INVITED, "current": PASSWORD}),
    Change(
        "POST /users/<uuid:user_id>/role",
        "/users/{user}/role",
        ["user.set_role"],
        {"role": "admin", "role_password": PASSWORD},
    ),
    Change("POST /users/<uuid:user_id>/disable", "/users/{user}/disable", ["user.disable"]),
    Change(
        "POST /users/<uuid:user_id>/enable",
        "/users/{disabled_user}/enable",
        ["user.enable"],
        {"access_password": PASSWORD},
    ),
    Change(
        "POST /users/<uuid:user_id>/reset",
        "/users/{user}/reset",
        ["user.drop_second_factor", "user.reset"],
        {"drop_second_factor": "on", "access_password": PASSWORD},
    ),
    Change(
        "POST /users/<uuid:user_id>/tokens/<uuid:token_id>/revoke",
        "/users/{token_owner}/tokens/{token}/revoke",
        ["token.revoke"],
    ),
    Change(
        "POST /customer/users",
        "/customer/users",
        ["user.add", "user.invite"],
        {**INVITED, "password": PASSWORD},
    ),
    Change(
        "PATCH /customer/users/<uuid:user_id>",
        "/customer/users/{user}",
        ["user.disable"],
        {"disabled": True},
    ),
    Change(
        "PATCH /customer/users/<uuid:user_id>",
        "/customer/users/{disabled_user}",
        ["user.enable"],
        {"disabled": False, "password": PASSWORD},
    ),
    Change(
        "PATCH /customer/users/<uuid:user_id>",
        "/customer/users/{user}",
        ["user.set_role"],
        {"role": "admin", "password": PASSWORD},
    ),
    Change(
        "POST /customer/users/<uuid:user_id>/reset",
        "/customer/users/{user}/reset",
        ["user.reset"],
        {"password": PASSWORD},
    ),
    Change(
        "DELETE /customer/users/<uuid:user_id>/tokens/<uuid:token_id>",
        "/customer/users/{token_owner}/tokens/{token}",
        ["token.revoke"],
    ),
    Change("POST /customer/tokens", "/customer/tokens", ["token.add"], {**TOKEN, "password": PASSWORD}),
    Change("DELETE /customer/tokens/<uuid:token_id>", "/customer/tokens/{own_token}", ["token.revoke"]),
    Change("DELETE /customer/sessions/<uuid:session_id>", "/customer/sessions/{own_session}", ["session.end"]),
    # profile
    Change("POST /profile", "/profile", ["user.set_profile"], PROFILE, Role.VIEWER),
    Change(
        "POST /profile/password",
        "/profile/password",
        ["user.set_password"],
        {"current": PASSWORD, "password": NEW_PASSWORD},
    ),
    Change(
        "POST /profile/sessions/<uuid:session_id>/end", "/profile/sessions/{own_session}/end", ["session.end"]
    ),
    Change("POST /profile/sessions/end-others", "/profile/sessions/end-others", ["session.end_others"],
        needs=["other_session"]),
    Change("POST /profile/tokens/new", "/profile/tokens/new", ["token.add"], {**TOKEN, "current": PASSWORD}),
    Change("POST /profile/tokens/revoke-all", "/profile/tokens/revoke-all", ["token.revoke"], needs=["own_token"]),
    Change("PATCH /customer/me", "/customer/me", ["user.set_profile"], {"name": "Ingrid"}, Role.VIEWER),
    Change("POST /profile/tokens/<uuid:token_id>/revoke", "/profile/tokens/{own_token}/revoke", ["token.revoke"]),
    Change(
        "POST /profile/second-factor",
        "/profile/second-factor",
        ["user.set_second_factor"],
        {"secret": SECRET, "code": "{code}", "current": PASSWORD},
    ),
    Change(
        "POST /profile/second-factor/drop",
        "/profile/second-factor/drop",
        ["user.drop_second_factor"],
        {"current": PASSWORD},
        second_factor=True,
    ),
    # tenants, by operators
    Change("POST /tenants/+new", "/tenants/+new", ["tenant.create"], {"tenant_id": "{new}"}, OPERATOR),
    Change("POST /tenants/<tenant_id>/edit", "/tenants/{tenant}/edit", DESCRIBED, TENANT, OPERATOR),
    Change("POST /tenants/<tenant_id>/suspend", "/tenants/{tenant}/suspend", ["tenant.suspend"], {}, OPERATOR),
    Change("POST /tenants/<tenant_id>/resume", "/tenants/{suspended}/resume", ["tenant.resume"], {}, OPERATOR),
    Change("POST /tenants/<tenant_id>/open-claim", "/tenants/{closed}/open-claim", ["tenant.claim"], {}, OPERATOR),
    Change("POST /tenants/<tenant_id>/close-claim", "/tenants/{tenant}/close-claim", ["tenant.claim"], {}, OPERATOR),
    Change(
        "POST /tenants/<tenant_id>/rotate-claim", "/tenants/{tenant}/rotate-claim", ["tenant.rotate_claim"], {},
        OPERATOR,
    ),
    Change(
        "POST /tenants/<tenant_id>/subscriptions/+new",
        "/tenants/{tenant}/subscriptions/+new",
        ["subscription.add"],
        SOLD,
        OPERATOR,
    ),
    Change(
        "POST /tenants/<tenant_id>/subscriptions/<subscription_id>",
        "/tenants/acme/subscriptions/{spare}",
        ["subscription.hold"],
        HELD,
        OPERATOR,
    ),
    Change("POST /operator/tenants", "/operator/tenants", ["tenant.create"], {"tenant_id": "{new}"}, OPERATOR),
    Change(
        "PATCH /operator/tenants/<tenant_id>",
        "/operator/tenants/{tenant}",
        DESCRIBED,
        {"name": "New name", "provisioning": "off", "rate": 3},
        OPERATOR,
    ),
    Change(
        "POST /operator/tenants/<tenant_id>/suspend", "/operator/tenants/{tenant}/suspend", ["tenant.suspend"], {},
        OPERATOR,
    ),
    Change(
        "POST /operator/tenants/<tenant_id>/resume", "/operator/tenants/{suspended}/resume", ["tenant.resume"], {},
        OPERATOR,
    ),
    Change(
        "POST /operator/tenants/<tenant_id>/claim",
        "/operator/tenants/{tenant}/claim",
        ["tenant.claim"],
        {"enabled": False},
        OPERATOR,
    ),
    Change(
        "POST /operator/tenants/<tenant_id>/rotate-claim",
        "/operator/tenants/{tenant}/rotate-claim",
        ["tenant.rotate_claim"],
        {},
        OPERATOR,
    ),
    Change("POST /export", "/export", ["tenant.export"]),
    Change("POST /customer/export", "/customer/export", ["tenant.export"]),
    Change(
        "POST /tenants/<tenant_id>/delete/confirm",
        "/tenants/{leaving}/delete/confirm",
        ["tenant.delete"],
        {"typed": "{leaving}", "version": LEAVING_VERSION},
        OPERATOR,
    ),
    Change(
        "POST /operator/tenants/<tenant_id>/deletion",
        "/operator/tenants/{leaving}/deletion",
        ["tenant.delete"],
        {"tenant_id": "{leaving}", "version": LEAVING_VERSION},
        OPERATOR,
    ),
    Change(
        "POST /subscriptions/<subscription_id>/renew",
        "/subscriptions/{spare}/renew",
        ["subscription.renew"],
        {"term_days": "365", "key": "from the form", "seen": "{reviewed}", "step": "confirm"},
    ),
    Change(
        "POST /customer/subscription/renew",
        "/customer/subscription/renew",
        ["subscription.renew"],
        {"subscription_id": "{spare}", "term_days": 365, "again": True, "idempotency_key": "{new}"},
    ),
    Change(
        "POST /operator/subscriptions", "/operator/subscriptions?tenant={tenant}", ["subscription.add"], SOLD, OPERATOR
    ),
    Change(
        "PATCH /operator/subscriptions/<subscription_id>",
        "/operator/subscriptions/{spare}?tenant=acme",
        ["subscription.change"],
        {"device_limit": 9},
        OPERATOR,
    ),
    # system
    Change(
        "POST /system/peers/<instance>/remove", "/system/peers/{away_peer}/remove", ["peer.remove"], {}, OPERATOR
    ),
    Change(
        "DELETE /operator/system/peers/<instance>", "/operator/system/peers/{away_peer}", ["peer.remove"], {}, OPERATOR
    ),
)  # fmt: skip

PREVIEWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "POST /rules/new/preview": ("/rules/new/preview", RULE),
    "POST /rules/<rule_id>/preview": ("/rules/{rule}/preview", RULE),
    "POST /customer/integration-routes/preview": (
        "/customer/integration-routes/preview",
        {"name": "Night", "integration_id": "{receiver}", "severities": ["low"]},
    ),
    "POST /customer/alert-rules/preview": (
        "/customer/alert-rules/preview",
        {"name": "Silence", "severity": "low", "kind": "no_data", "seconds": 60},
    ),
    "POST /tenants/<tenant_id>/delete": ("/tenants/{leaving}/delete", {"typed": "{leaving}"}),
    "POST /devices/+credentials": ("/devices/+credentials", {"credentials": f"pump-1 {'p' * 24} {'t' * 24}"}),
}
"""What is sent by POST because it is long, and changes nothing: each with its path and what is sent."""
BY_DEVICES = frozenset(
    {
        "POST /ingest/tenant/<tenant_id>/device/<device_id>/<any(telemetry, heartbeat):kind>",
        "POST /ingest/tenant/<tenant_id>/device/<device_id>/claim",
    }
)
"""What devices send, not people: messages are counted in the accounting, and a test of claims reads their audit row."""

"""Who may use which route: the written table that the application is held against. A new route gets its line here.

``METHOD /path`` as the route is declared -> the roles, or OPEN (machines) or DOOR (pages before the sign-in). One block
a blueprint, in the order of the product's navigation.
"""

from collections.abc import Mapping

from appliance.web.auth import ADMINS, DOOR, OPEN, OPERATORS, READERS, RESPONDERS, Allowed

TABLE: Mapping[str, Allowed] = {
    # the door
    "GET /sign-in": DOOR,
    "POST /sign-in": DOOR,
    "POST /sign-in/code": DOOR,
    "POST /sign-out": READERS,
    "GET /forgotten": DOOR,
    "GET /link/<secret>": DOOR,
    "POST /link/<secret>": DOOR,
    # the set-up
    "GET /set-up/<secret>": DOOR,
    "POST /set-up/<secret>": DOOR,
    "GET /welcome": OPERATORS,
    # files, probes, the API's description
    "GET /static/<path:address>": OPEN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": OPEN,
    "GET /openapi.json": OPEN,
    # ingest: devices show tokens of their own
    "POST /ingest/tenant/<tenant_id>/device/<device_id>/<any(telemetry, heartbeat):kind>": OPEN,
    "POST /ingest/tenant/<tenant_id>/device/<device_id>/claim": OPEN,
    # live
    "GET /live": READERS,
    # overview
    "GET /": READERS,
    "GET /more": READERS,
    # devices, the pages
    "GET /devices": READERS,
    "POST /devices/+bulk": ADMINS,
    "POST /devices/+close-claim": ADMINS,
    "GET /devices/+new": ADMINS,
    "POST /devices/+new": ADMINS,
    "GET /devices/+import": ADMINS,
    "POST /devices/+import": ADMINS,
    "GET /devices/<device_id>": READERS,
    "GET /devices/<device_id>/messages": READERS,
    "GET /devices/<device_id>/edit": ADMINS,
    "POST /devices/<device_id>/edit": ADMINS,
    "GET /devices/<device_id>/approve": ADMINS,
    "POST /devices/<device_id>/approve": ADMINS,
    "GET /devices/<device_id>/reject": ADMINS,
    "POST /devices/<device_id>/reject": ADMINS,
    "GET /devices/<device_id>/deactivate": ADMINS,
    "POST /devices/<device_id>/deactivate": ADMINS,
    "GET /devices/<device_id>/reactivate": ADMINS,
    "POST /devices/<device_id>/reactivate": ADMINS,
    "GET /devices/<device_id>/move": ADMINS,
    "POST /devices/<device_id>/move": ADMINS,
    "GET /devices/<device_id>/revoke": ADMINS,
    "POST /devices/<device_id>/revoke": ADMINS,
    "GET /devices/<device_id>/switch": ADMINS,
    "POST /devices/<device_id>/switch": ADMINS,
    "GET /devices/<device_id>/rotate": ADMINS,
    "POST /devices/<device_id>/rotate": ADMINS,
    "GET /devices/<device_id>/delete": ADMINS,
    "POST /devices/<device_id>/delete": ADMINS,
    # devices, the JSON API
    "GET /customer/devices": READERS,
    "POST /customer/devices": ADMINS,
    "GET /customer/devices/<device_id>": READERS,
    "PATCH /customer/devices/<device_id>": ADMINS,
    "DELETE /customer/devices/<device_id>": ADMINS,
    "POST /customer/devices/<device_id>/approve": ADMINS,
    "POST /customer/devices/<device_id>/reject": ADMINS,
    "POST /customer/devices/<device_id>/deactivate": ADMINS,
    "POST /customer/devices/<device_id>/reactivate": ADMINS,
    "POST /customer/devices/<device_id>/move": ADMINS,
    "POST /customer/devices/<device_id>/rotate": ADMINS,
    "POST /customer/devices/<device_id>/switch": ADMINS,
    "POST /customer/devices/<device_id>/revoke": ADMINS,
    "POST /customer/devices/bulk": ADMINS,
    "POST /customer/devices/import": ADMINS,
    "GET /customer/devices/<device_id>/telemetry": READERS,
    # sites and metrics, the pages
    "GET /sites": READERS,
    "GET /sites/+new": ADMINS,
    "POST /sites/+new": ADMINS,
    "GET /sites/<site_id>": READERS,
    "POST /sites/<site_id>": ADMINS,
    "POST /sites/<site_id>/delete": ADMINS,
    "GET /metric-names": READERS,
    "GET /metric-names/+new": ADMINS,
    "POST /metric-names/+new": ADMINS,
    "GET /metric-names/<name>": READERS,
    "POST /metric-names/<name>": ADMINS,
    "POST /metric-names/<name>/delete": ADMINS,
    # sites and metrics, the JSON API
    "GET /customer/sites": READERS,
    "POST /customer/sites": ADMINS,
    "GET /customer/sites/<site_id>": READERS,
    "PATCH /customer/sites/<site_id>": ADMINS,
    "DELETE /customer/sites/<site_id>": ADMINS,
    "GET /customer/metrics": READERS,
    "POST /customer/metrics": ADMINS,
    "GET /customer/metrics/<name>": READERS,
    "PATCH /customer/metrics/<name>": ADMINS,
    "DELETE /customer/metrics/<name>": ADMINS,
    # quarantine, the pages
    # quarantine, the JSON API
    "GET /customer/quarantine": READERS,
    "GET /customer/quarantine/<int:message_id>": READERS,
    "GET /customer/quarantine/causes": READERS,
    "GET /customer/quarantine/offers": READERS,
    "GET /customer/quarantine/door": READERS,
    "POST /customer/quarantine/replay": ADMINS,
    "GET /customer/quarantine/replays": READERS,
    "GET /customer/quarantine/replays/<int:replay_id>": READERS,
    "POST /customer/quarantine/replays/<int:replay_id>/cancel": ADMINS,
    "POST /customer/quarantine/dismiss": ADMINS,
    # audit
    # users and tokens
    # profile
    "GET /profile": READERS,
    "POST /profile": READERS,
    "GET /profile/password": READERS,
    "POST /profile/password": READERS,
    "POST /profile/sessions/<uuid:session_id>/end": READERS,
    "POST /profile/sessions/end-others": READERS,
    "GET /profile/tokens/new": READERS,
    "POST /profile/tokens/new": READERS,
    "POST /profile/tokens/<uuid:token_id>/revoke": READERS,
    "GET /profile/second-factor": READERS,
    "POST /profile/second-factor": READERS,
    "POST /profile/second-factor/drop": READERS,
    # tenants
    # system
    "GET /system": OPERATORS,
    "GET /system/problems": OPERATORS,
    "GET /operator/system": OPERATORS,
    "GET /operator/system/diagnostics": OPERATORS,
}

KNOWN = (ADMINS, OPERATORS, READERS, RESPONDERS)
"""The groups of roles that lines above may name."""

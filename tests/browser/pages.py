"""Every page there is: one line each, which the checks and ``make screenshots`` go through.

A new page gets its line here; a test fails on a page that the application has and the table has not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.people.role import Role
from tests.support.web.demo_deliveries import (
    DEAD_DELIVERY,
    DELIVERY,
    GONE_INTEGRATION,
    MAIN_INTEGRATION,
    MAIN_ROUTE,
)
from tests.support.web.demo_fixture import (
    ALERT,
    AWAY_PEER,
    CAUSE_ALERT,
    CLOSED_ALERT,
    DEVICE,
    INHIBITED_ALERT,
    RULE,
    SILENCED_ALERT,
    TENANT,
    USER,
    WINDOW,
)


@dataclass(frozen=True, slots=True)
class PageOf:
    """A page of the demo dashboard. ``rule``: its route, where the path fills it in."""

    path: str
    name: str
    """Of its pictures."""
    role: Role | None = Role.ADMIN
    """Who looks; None: nobody is signed in."""
    rule: str | None = None
    status: int = 200

    @property
    def route(self) -> str:
        """As it is declared."""
        return self.rule or self.path.partition("?")[0]


ONE_DEVICE = f"/devices/{DEVICE}"
ONE_ALERT = f"/alerts/{ALERT}"
ONE_RULE = f"/rules/{RULE}"
ONE_INTEGRATION = f"/integrations/{MAIN_INTEGRATION}"
ONE_ROUTE = f"/routes/{MAIN_ROUTE}"
ONE_TENANT = f"/tenants/{TENANT}"
OPERATOR = Role.OPERATOR

PAGES: Sequence[PageOf] = (
    # sign-in
    PageOf("/sign-in", "sign-in", None),
    PageOf("/forgotten", "forgotten", None),
    PageOf("/trust", "trust", None),
    PageOf("/link/nothing", "link-over", None, rule="/link/<secret>", status=404),
    PageOf("/set-up/nothing", "set-up-over", None, rule="/set-up/<secret>", status=404),
    PageOf("/welcome", "welcome", OPERATOR),
    PageOf("/acknowledge/nothing", "acknowledge-over", None, rule="/acknowledge/<token>", status=404),
    # overview
    PageOf("/", "overview"),
    PageOf("/?", "overview-operator", OPERATOR, rule="/"),
    PageOf(f"/?tenant={TENANT}&range=24h&site=moss-terminal", "overview-site", OPERATOR, rule="/"),
    PageOf("/more", "more"),
    # devices
    PageOf("/devices", "devices"),
    PageOf("/devices?", "devices-operator", OPERATOR),
    PageOf("/devices?q=nothing", "devices-none", Role.VIEWER),
    PageOf("/devices/+new", "device-new"),
    PageOf("/devices/+import", "devices-import"),
    PageOf(ONE_DEVICE, "device", rule="/devices/<device_id>"),
    PageOf(f"{ONE_DEVICE}?", "device-viewer", Role.VIEWER, rule="/devices/<device_id>"),
    PageOf("/devices/BGO-FRZ-064", "device-never-heard", rule="/devices/<device_id>"),
    PageOf("/devices?presence=NEW", "devices-never-heard"),
    PageOf(f"{ONE_DEVICE}/messages", "device-messages", rule="/devices/<device_id>/messages"),
    PageOf(f"{ONE_DEVICE}/edit", "device-edit", rule="/devices/<device_id>/edit"),
    PageOf("/devices/MSS-NEW-001/approve", "device-approve", rule="/devices/<device_id>/approve"),
    PageOf("/devices/MSS-NEW-001/reject", "device-reject", rule="/devices/<device_id>/reject"),
    PageOf(f"{ONE_DEVICE}/deactivate", "device-deactivate", rule="/devices/<device_id>/deactivate"),
    PageOf("/devices/MSS-OLD-001/reactivate", "device-reactivate", rule="/devices/<device_id>/reactivate"),
    PageOf(f"{ONE_DEVICE}/move", "device-move", rule="/devices/<device_id>/move"),
    PageOf(f"{ONE_DEVICE}/revoke", "device-revoke", rule="/devices/<device_id>/revoke"),
    PageOf(f"{ONE_DEVICE}/switch", "device-switch", rule="/devices/<device_id>/switch"),
    PageOf(f"{ONE_DEVICE}/rotate", "device-rotate", rule="/devices/<device_id>/rotate"),
    PageOf(f"{ONE_DEVICE}/delete", "device-delete", rule="/devices/<device_id>/delete"),
    # alerts
    PageOf("/alerts", "alerts"),
    PageOf("/alerts?", "alerts-viewer", Role.VIEWER),
    PageOf("/alerts?tab=all", "alerts-operator", OPERATOR),
    PageOf("/alerts?tab=closed", "alerts-closed", Role.RESPONDER),
    PageOf("/alerts?q=nothing", "alerts-none"),
    PageOf(f"/alerts?open={ALERT}", "alerts-opened"),
    PageOf(ONE_ALERT, "alert", rule="/alerts/<int:alert_id>"),
    PageOf(f"/alerts/{INHIBITED_ALERT}", "alert-inhibited", rule="/alerts/<int:alert_id>"),
    PageOf(f"/alerts/{CLOSED_ALERT}", "alert-closed", rule="/alerts/<int:alert_id>"),
    PageOf(f"/alerts/{SILENCED_ALERT}", "alert-silenced", Role.VIEWER, rule="/alerts/<int:alert_id>"),
    PageOf(f"/alerts/{CAUSE_ALERT}", "alert-cause", rule="/alerts/<int:alert_id>"),
    PageOf(f"{ONE_ALERT}/silence", "alert-silence", rule="/alerts/<int:alert_id>/<any(silence, close):step>"),
    PageOf(f"{ONE_ALERT}/close", "alert-close", rule="/alerts/<int:alert_id>/<any(silence, close):step>"),
    # sites and metrics
    PageOf("/sites", "sites"),
    PageOf("/sites/+new", "site-new"),
    PageOf("/sites/bergen-quay", "site", rule="/sites/<site_id>"),
    PageOf("/metric-names", "metric-names"),
    PageOf("/metric-names/+new", "metric-name-new"),
    PageOf("/metric-names/temperature", "metric-name", rule="/metric-names/<name>"),
    # rules
    PageOf("/rules", "rules"),
    PageOf("/rules?", "rules-operator", OPERATOR),
    PageOf("/rules?q=nothing", "rules-none", Role.VIEWER),
    PageOf(f"/rules/new?metric=temperature&device={DEVICE}", "rule-new"),
    PageOf(f"{ONE_RULE}", "rule", rule="/rules/<rule_id>"),
    PageOf(f"{ONE_RULE}?", "rule-viewer", Role.VIEWER, rule="/rules/<rule_id>"),
    PageOf(f"{ONE_RULE}/delete", "rule-delete", rule="/rules/<rule_id>/delete"),
    # routes
    PageOf("/routes", "routes"),
    PageOf("/routes?", "routes-operator", OPERATOR),
    PageOf("/routes/+new", "route-new"),
    PageOf(ONE_ROUTE, "route", rule="/routes/<route_id>"),
    PageOf(f"{ONE_ROUTE}?", "route-viewer", Role.VIEWER, rule="/routes/<route_id>"),
    PageOf("/routes/+new?", "choose-tenant", OPERATOR),
    PageOf(f"{ONE_ROUTE}/delete", "route-delete", rule="/routes/<route_id>/delete"),
    # integrations
    PageOf("/integrations", "integrations"),
    PageOf("/integrations?", "integrations-operator", OPERATOR),
    PageOf("/integrations/+new", "integration-new"),
    PageOf("/integrations/+new?type=email", "integration-new-email"),
    PageOf(ONE_INTEGRATION, "integration", rule="/integrations/<integration_id>"),
    PageOf(f"{ONE_INTEGRATION}?", "integration-viewer", Role.VIEWER, rule="/integrations/<integration_id>"),
    PageOf(f"/integrations/{GONE_INTEGRATION}", "integration-gone", rule="/integrations/<integration_id>"),
    PageOf(f"{ONE_INTEGRATION}/delete", "integration-delete", rule="/integrations/<integration_id>/delete"),
    # deliveries
    PageOf("/deliveries", "deliveries"),
    PageOf("/deliveries?", "deliveries-operator", OPERATOR),
    PageOf("/deliveries?q=nothing", "deliveries-none", Role.VIEWER),
    PageOf(f"/deliveries?open={DELIVERY}", "deliveries-opened", Role.RESPONDER),
    PageOf(f"/deliveries?state=dead&open={DEAD_DELIVERY}", "deliveries-dead"),
    PageOf(f"/deliveries/{DELIVERY}/cancel", "delivery-cancel", rule="/deliveries/<int:job_id>/cancel"),
    # maintenance
    PageOf("/maintenance", "maintenance"),
    PageOf("/maintenance?", "maintenance-operator", OPERATOR),
    PageOf("/maintenance?state=planned", "maintenance-viewer", Role.VIEWER),
    PageOf("/maintenance/+new", "maintenance-new"),
    PageOf(f"/maintenance/{WINDOW}", "maintenance-window", rule="/maintenance/<window_id>"),
    PageOf(f"/maintenance/{WINDOW}/delete", "maintenance-delete", rule="/maintenance/<window_id>/delete"),
    PageOf(f"/maintenance/{WINDOW}?", "maintenance-window-viewer", Role.VIEWER, rule="/maintenance/<window_id>"),
    # quarantine
    PageOf("/quarantine", "quarantine"),
    PageOf("/quarantine?", "quarantine-operator", OPERATOR),
    PageOf("/quarantine/1", "quarantined", rule="/quarantine/<int:message_id>"),
    PageOf("/quarantine/door", "quarantine-door"),
    PageOf("/quarantine/replay?reason=INVALID_METRIC", "quarantine-replay"),
    PageOf("/quarantine/dismiss?reason=INVALID_METRIC", "quarantine-dismiss"),
    PageOf("/quarantine/replays", "replays"),
    PageOf("/quarantine/replays/1", "replay", rule="/quarantine/replays/<int:replay_id>"),
    # subscriptions
    PageOf("/subscriptions", "subscriptions"),
    PageOf("/subscriptions?", "subscriptions-operator", OPERATOR),
    PageOf("/subscriptions?state=ended", "subscriptions-viewer", Role.VIEWER),
    PageOf("/subscriptions/+history", "subscriptions-history"),
    PageOf("/subscriptions/SUB-20251208-00001", "one-subscription", rule="/subscriptions/<subscription_id>"),
    PageOf("/subscriptions/SUB-20260415-00004", "add-on", Role.VIEWER, rule="/subscriptions/<subscription_id>"),
    PageOf("/subscriptions/SUB-20251208-00001/renew", "renew", rule="/subscriptions/<subscription_id>/renew"),
    PageOf(
        "/subscriptions/SUB-20251208-00001/renew?term_days=365&new_device_limit=61&chosen=BGO-FRZ-013",
        "renew-fewer",
        rule="/subscriptions/<subscription_id>/renew",
    ),
    PageOf("/subscriptions/SUB-20260901-00019/renew", "renew-early", rule="/subscriptions/<subscription_id>/renew"),
    PageOf("/subscriptions/SUB-20260415-00004/renew", "renew-add-on", rule="/subscriptions/<subscription_id>/renew"),
    PageOf(
        "/subscriptions/SUB-20251208-00001/renew?step=review&term_days=365&new_device_limit=62"
        "&chosen=BGO-FRZ-013+BGO-FRZ-023",
        "renew-review",
        rule="/subscriptions/<subscription_id>/renew",
    ),
    PageOf(
        "/subscriptions/SUB-20251208-00001/renewed/1",
        "renewed",
        rule="/subscriptions/<subscription_id>/renewed/<int:request_id>",
    ),
    # people
    PageOf("/audit", "audit"),
    PageOf("/audit?actor=nobody", "audit-none"),
    PageOf("/audit?", "audit-operator", OPERATOR),
    PageOf("/users", "users"),
    PageOf("/users?", "users-operator", OPERATOR),
    PageOf("/users/new", "user-new"),
    PageOf(f"/users/{USER}", "user", rule="/users/<uuid:user_id>"),
    PageOf("/export", "export"),
    PageOf("/profile", "profile"),
    PageOf("/profile/password", "profile-password"),
    PageOf("/profile/tokens?done=password", "profile-tokens"),
    PageOf("/profile/tokens/new", "profile-token"),
    PageOf("/profile/second-factor", "profile-second-factor"),
    # operators
    PageOf("/tenants", "tenants", OPERATOR),
    PageOf("/tenants?q=nobody", "tenants-none", OPERATOR),
    PageOf("/tenants/+new", "tenant-new", OPERATOR),
    PageOf(ONE_TENANT, "tenant", OPERATOR, rule="/tenants/<tenant_id>"),
    PageOf(f"{ONE_TENANT}/edit", "tenant-edit", OPERATOR, rule="/tenants/<tenant_id>/edit"),
    PageOf(f"{ONE_TENANT}/suspend", "tenant-suspend", OPERATOR, rule="/tenants/<tenant_id>/suspend"),
    PageOf(f"{ONE_TENANT}/resume", "tenant-resume", OPERATOR, rule="/tenants/<tenant_id>/resume"),
    PageOf(f"{ONE_TENANT}/open-claim", "tenant-open-claim", OPERATOR, rule="/tenants/<tenant_id>/open-claim"),
    PageOf(f"{ONE_TENANT}/close-claim", "tenant-close-claim", OPERATOR, rule="/tenants/<tenant_id>/close-claim"),
    PageOf(f"{ONE_TENANT}/rotate-claim", "tenant-rotate-claim", OPERATOR, rule="/tenants/<tenant_id>/rotate-claim"),
    PageOf(
        f"{ONE_TENANT}/subscriptions/+new",
        "subscription-new",
        OPERATOR,
        rule="/tenants/<tenant_id>/subscriptions/+new",
    ),
    PageOf(
        f"{ONE_TENANT}/subscriptions/SUB-20251208-00001",
        "subscription",
        OPERATOR,
        rule="/tenants/<tenant_id>/subscriptions/<subscription_id>",
    ),
    PageOf(f"{ONE_TENANT}/delete", "tenant-delete", OPERATOR, rule="/tenants/<tenant_id>/delete"),
    PageOf("/tenants/+deletions", "tenant-deletions", OPERATOR),
    PageOf("/tenants/+deletions/1", "tenant-deletion", OPERATOR, rule="/tenants/+deletions/<int:deletion_id>"),
    PageOf("/system", "system", OPERATOR),
    PageOf("/system/problems", "system-problems", OPERATOR),
    PageOf("/system/clock", "confirm-clock", OPERATOR),
    PageOf("/system/restore", "confirm-restore", OPERATOR),
    PageOf(f"/system/peers/{AWAY_PEER}/remove", "peer-remove", OPERATOR, rule="/system/peers/<instance>/remove"),
    # failures
    PageOf("/system", "failure-403", Role.VIEWER, status=403),
    PageOf("/nothing-here", "failure-404", status=404),
    PageOf("/nothing-here?", "failure-404-signed-out", None, status=404),
    PageOf("/+fails/500", "failure-500", status=500),
    PageOf("/+fails/503", "failure-503", None, status=503),
)

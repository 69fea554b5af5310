"""The API of previews: ``POST /customer/alert-rules/preview``, with a rule as its body."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from appliance.alerts.rules.findings import DAYS, MAX_OPENINGS, MAX_READINGS, MAX_SECONDS, Opening, Preview, Stop
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import tenant_of
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe
from appliance.web.rules.preview_view import previewed
from appliance.web.rules.previewer import Previewer
from appliance.web.rules.schemas import RuleNew, Value, described_by


class OpeningOut(msgspec.Struct, frozen=True):
    """An alert that would have opened."""

    device_id: str
    started_at: datetime
    ended_at: Annotated[datetime | None, Meta(description="Null: it would be open still.")]
    value: Annotated[Value | None, Meta(description="What was compared when it opened; null for silence.")]
    extreme: Annotated[Value | None, Meta(description="The value farthest beyond the limit while it was open.")]


class CoverageOut(msgspec.Struct, frozen=True):
    """What a preview looked at."""

    since: datetime
    until: datetime
    devices: Annotated[int, Meta(description="Devices of the scope.")]
    reporting: Annotated[int, Meta(description="Those of them that ever sent the metric.")]
    checked: Annotated[int, Meta(description="Those of the reporting ones that were looked at to the end.")]
    readings: int
    seconds: float
    stopped: Annotated[Stop | None, Meta(description="Why it did not look at everything; null: it did.")]


class PreviewOut(msgspec.Struct, frozen=True):
    """What a rule would have opened."""

    alerts: int
    by_device: Annotated[dict[str, int], Meta(description="Alerts by device, most first; others would have none.")]
    openings: Annotated[list[OpeningOut], Meta(description=f"Newest first, {MAX_OPENINGS} at most.")]
    covered: CoverageOut


def blueprint(previewer: Previewer) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_rule_previews", __name__)

    @routes.post("/customer/alert-rules/preview")
    @allow(ADMINS)
    @describe(
        "Preview an alert rule",
        details=(
            f"Answers what the rule would have opened over the last {DAYS} days of stored readings, and changes"
            f" nothing. It stops after {MAX_READINGS:,} readings or {MAX_SECONDS:g} s, and says what it covered."
        ),
        body=RuleNew,
        answers={HTTPStatus.OK: PreviewOut},
        keyed=False,
    )
    async def preview() -> Response:
        given = described_by(await body(RuleNew))
        rule = previewed({name: value for name, value in given.items() if value is not None}, built_in=None)
        return answer(_shown(await previewer.of(tenant_of(), rule)))

    return routes


def _shown(found: Preview) -> PreviewOut:
    covered = CoverageOut(
        found.first,
        found.last,
        len(found.covered),
        len(found.reporting),
        found.checked,
        found.readings,
        round(found.seconds, 3),
        found.stopped,
    )
    return PreviewOut(found.alerts, dict(found.by_device), list(map(_opening, found.openings)), covered)


def _opening(one: Opening) -> OpeningOut:
    ended_at = None if one.ended_at is None else _moment(one.ended_at)
    return OpeningOut(one.device_id, _moment(one.started_at), ended_at, one.value, one.extreme)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)

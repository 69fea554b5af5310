"""``/operator/system``: the appliance as it is now, and the diagnostics file to send to whoever helps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response

from appliance.web.access.auth import OPERATORS, allow, viewer
from appliance.web.openapi.describe import answer, describe
from appliance.web.page import formats
from appliance.web.platform import Platform
from appliance.web.system.port import SystemPort
from appliance.web.system.reader import SystemReader, SystemView


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What helps somebody else to see what is wrong; nothing in it is a secret, and no message is in it."""

    appliance: str
    missing: Mapping[str, str]
    """What is not there, in words."""
    system: SystemView
    refused_at_door: Mapping[str, int]
    """Refusals at the broker that are remembered, by cause."""
    settings: Mapping[str, Any]
    """The effective configuration by dotted key, secrets masked."""


def blueprint(platform: Platform, reader: SystemReader, port: SystemPort) -> Blueprint:
    """The routes of the API."""
    routes = Blueprint("system_api", __name__)

    async def view() -> SystemView:
        return await reader.view(formats.midnight(platform.clock.wall(), viewer().zone))

    @routes.get("/operator/system")
    @allow(OPERATORS)
    @describe("How the appliance is: the books, tasks, memory, disk, versions", answers={HTTPStatus.OK: SystemView})
    async def system() -> Response:
        return answer(await view())

    @routes.get("/operator/system/diagnostics")
    @allow(OPERATORS)
    @describe("The diagnostics file, without secrets", answers={HTTPStatus.OK: Diagnostics})
    async def diagnostics() -> Response:
        refused: dict[str, int] = {}
        for one in port.broker_refusals(None, None):
            refused[one.cause.value] = refused.get(one.cause.value, 0) + one.times
        report = Diagnostics(
            appliance=platform.name,
            missing=platform.health().missing(),
            system=await view(),
            refused_at_door=refused,
            settings=port.snapshot.settings,
        )
        at = datetime.fromtimestamp(platform.clock.wall(), UTC)
        return answer(
            report, headers={"Content-Disposition": f'attachment; filename="diagnostics-{at:%Y%m%dT%H%M%SZ}.json"'}
        )

    return routes

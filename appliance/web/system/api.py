"""The API of System: the appliance as it is now, and its diagnostics."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Blueprint, Response

from appliance import local_time
from appliance.web.access.auth import OPERATORS, allow, viewer
from appliance.web.openapi.describe import answer, describe
from appliance.web.platform import Platform
from appliance.web.system.clock import ClockActions, Confirmed
from appliance.web.system.peers import PeerActions
from appliance.web.system.port import SystemPort
from appliance.web.system.reader import SystemReader, SystemView


class Diagnostics(msgspec.Struct, frozen=True, rename={"refused_by_broker": "refused_at_door"}):
    """The facts that support needs. It contains no secret and no message."""

    appliance: str
    missing: Mapping[str, str]
    """What is not reachable, with a description."""
    system: SystemView
    refused_by_broker: Mapping[str, int]
    """Recent refusals by the broker, by cause."""
    settings: Mapping[str, Any]
    """The effective configuration by dotted key, secrets masked."""


def blueprint(
    platform: Platform,
    reader: SystemReader,
    port: SystemPort,
    clock_actions: ClockActions,
    peer_actions: PeerActions,
) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("system_api", __name__)

    async def view() -> SystemView:
        return await reader.view(local_time.midnight(platform.clock.now(), viewer().zone))

    @routes.get("/operator/system")
    @allow(OPERATORS)
    @describe("State of the appliance: accounting, tasks, disk, versions, peers", answers={HTTPStatus.OK: SystemView})
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
            missing=platform.health().causes(),
            system=await view(),
            refused_by_broker=refused,
            settings=port.snapshot.settings,
        )
        at = datetime.fromtimestamp(platform.clock.now(), UTC)
        return answer(
            report, headers={"Content-Disposition": f'attachment; filename="diagnostics-{at:%Y%m%dT%H%M%SZ}.json"'}
        )

    @routes.post("/operator/system/clock/confirm")
    @allow(OPERATORS)
    @describe(
        "Confirm that the machine's clock is right, although it is in doubt",
        answers={HTTPStatus.ACCEPTED: Confirmed},
    )
    async def confirm_clock() -> Response:
        return answer(await clock_actions.confirm(None), HTTPStatus.ACCEPTED)

    @routes.delete("/operator/system/peers/<instance>")
    @allow(OPERATORS)
    @describe("Remove an appliance that is away", answers={HTTPStatus.NO_CONTENT: None})
    async def remove_peer(instance: str) -> Response:
        await peer_actions.remove(instance)
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes

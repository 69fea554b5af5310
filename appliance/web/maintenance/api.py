"""The API of maintenance windows: ``/customer/maintenance``."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.alerts.maintenance.window import Window
from appliance.clock import Clock
from appliance.local_time import wall_clock, zone_of
from appliance.web.access.auth import ADMINS, READERS, RESPONDERS, allow
from appliance.web.maintenance import export
from appliance.web.maintenance.actions import KnownWindow, MaintenanceActions, known_at
from appliance.web.maintenance.schemas import (
    WindowChange,
    WindowNew,
    WindowOut,
    WindowPageOut,
    WindowQuery,
    draft_of,
    edited,
    shown,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv
from appliance.web.platform import Platform


def blueprint(platform: Platform, windows: MaintenanceActions) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_maintenance", __name__)
    _add_list(routes, platform, windows)
    _add_one(routes, platform.clock, windows)
    return routes


def _add_list(routes: Blueprint, platform: Platform, windows: MaintenanceActions) -> None:
    clock = platform.clock

    @routes.get("/customer/maintenance")
    @allow(READERS)
    @describe("List maintenance windows", query=WindowQuery, answers={HTTPStatus.OK: WindowPageOut}, csv=True)
    async def list_windows() -> Response:
        asked = query(WindowQuery)
        if csv.asked_for():
            return await export.answer(platform, windows, asked.state)
        page = await windows.page(asked.limit, asked.cursor, asked.state)
        return answer(WindowPageOut([_out(one, clock.settled()) for one in page.windows], page.next))

    @routes.post("/customer/maintenance")
    @allow(ADMINS)
    @describe("Add a maintenance window", body=WindowNew, answers={HTTPStatus.CREATED: WindowOut})
    async def create() -> Response:
        made = await windows.create(draft_of(await body(WindowNew)))
        headers = {"Location": f"/customer/maintenance/{made.window_id}"}
        return answer(await _one(made, clock.settled()), HTTPStatus.CREATED, headers)


def _add_one(routes: Blueprint, clock: Clock, windows: MaintenanceActions) -> None:
    @routes.get("/customer/maintenance/<window_id>")
    @allow(READERS)
    @describe("Show a maintenance window", answers={HTTPStatus.OK: WindowOut})
    async def show(window_id: str) -> Response:
        return answer(_out((await windows.get(window_id)).windows[0], clock.settled()))

    @routes.patch("/customer/maintenance/<window_id>")
    @allow(ADMINS)
    @describe("Update a maintenance window", body=WindowChange, answers={HTTPStatus.OK: WindowOut})
    async def change(window_id: str) -> Response:
        wanted = await body(WindowChange)
        changed = await windows.edit(window_id, lambda kept: edited(kept, wanted), wanted.version)
        return answer(await _one(changed, clock.settled()))

    @routes.delete("/customer/maintenance/<window_id>")
    @allow(ADMINS)
    @describe("Delete a maintenance window", answers={HTTPStatus.NO_CONTENT: None})
    async def delete(window_id: str) -> Response:
        await windows.delete(window_id)
        return Response(b"", HTTPStatus.NO_CONTENT)

    @routes.post("/customer/maintenance/<window_id>/end")
    @allow(RESPONDERS)
    @describe(
        "End a maintenance window that is active",
        details="A weekly window is active again at its next time. 409 if it is not active now.",
        answers={HTTPStatus.OK: WindowOut},
    )
    async def end(window_id: str) -> Response:
        return answer(await _one(await windows.end(window_id), clock.settled()))


async def _one(window: Window, now: float) -> WindowOut:
    [known] = await known_at([window], now)
    return _out(known, now)


def _out(known: KnownWindow, now: float) -> WindowOut:
    return shown(known, wall_clock(now, zone_of(known.window.time_zone)).date())

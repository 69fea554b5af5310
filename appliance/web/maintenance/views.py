"""The list of maintenance windows, and what is done to one from there."""

from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.alerts.maintenance.store import KEEP_ENDED
from appliance.web.access.auth import ADMINS, READERS, RESPONDERS, Viewer, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.maintenance import export, listing
from appliance.web.maintenance.actions import MaintenanceActions, WindowPage, WindowState, may_end
from appliance.web.maintenance.listing import WindowRow
from appliance.web.maintenance.schemas import WindowQuery
from appliance.web.openapi.describe import query
from appliance.web.page import csv
from appliance.web.page.confirmation import name_fault
from appliance.web.page.faults import Fault
from appliance.web.page.live_address import live_name
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer, see_other

PATH = "/maintenance"
PAGE = "maintenance"
PAGE_ROWS = 50
DONE = {
    "created": "The maintenance window is added.",
    "saved": "The maintenance window is saved.",
    "ended": "The maintenance window is ended.",
    "deleted": "The maintenance window is deleted.",
}


@dataclass(frozen=True, slots=True)
class RowLinks:
    """The addresses of a row."""

    window: str
    end: str
    repeat: str


def blueprint(renderer: PageRenderer, windows: MaintenanceActions) -> Blueprint:
    """Return the routes of the list."""
    routes = Blueprint("maintenance", __name__)
    clock = renderer.platform.clock

    @routes.get(PATH)
    @allow(READERS)
    async def all_windows() -> Response:
        asked = query(WindowQuery)
        if csv.asked_for():
            return await export.answer(renderer.platform, windows, asked.state)
        page = await windows.page(PAGE_ROWS, asked.cursor, asked.state)
        active = await windows.page(2, None, [WindowState.ACTIVE])
        now, who = clock.settled(), viewer()
        return await renderer.page(
            "maintenance/list.html",
            done=DONE,
            live_page=live_name(PAGE, who, tenants_shown(), cursor=asked.cursor),
            live=False,
            rows=[(row, links_of(row, who)) for row in listing.rows_of(page, now)],
            counts=page.counts,
            states=list(WindowState),
            chosen=asked.state,
            next=page.next,
            week=listing.week_of(now, who.zone),
            active_sentence=listing.active_sentence(active, now),
            keep_days=KEEP_ENDED.days,
            may_change=may_change(who),
            may_end=may_end(),
        )

    @routes.post(f"{PATH}/<window_id>/end")
    @allow(RESPONDERS)
    async def end(window_id: str) -> Response:
        await windows.end(window_id)
        return done("ended")

    _add_delete(routes, renderer, windows)
    return routes


def _add_delete(routes: Blueprint, renderer: PageRenderer, windows: MaintenanceActions) -> None:
    async def asked(page: WindowPage, fault: Fault | None) -> Response:
        [known] = page.windows
        path, of = f"{PATH}/{known.window.window_id}", known.window.tenant_id
        return await renderer.page(
            "maintenance/delete.html",
            status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            known=known,
            fault=fault,
            action=of_tenant(f"{path}/delete", viewer(), of),
            back=of_tenant(path, viewer(), of),
        )

    @routes.get(f"{PATH}/<window_id>/delete")
    @allow(ADMINS)
    async def ask(window_id: str) -> Response:
        return await asked(await windows.get(window_id), None)

    @routes.post(f"{PATH}/<window_id>/delete")
    @allow(ADMINS)
    async def delete(window_id: str) -> Response:
        page = await windows.get(window_id)
        fault = await name_fault(page.windows[0].window.name)
        if fault is not None:
            return await asked(page, fault)
        await windows.delete(window_id)
        return done("deleted")


def done(what: str) -> Response:
    """Return the way back to the list, which says what was done."""
    return see_other(of_tenant(PATH, viewer(), tenant_of(), done=what))


def links_of(row: WindowRow, who: Viewer) -> RowLinks:
    """Return the addresses of a row for a viewer."""
    window = row.known.window
    page = f"{PATH}/{window.window_id}"
    return RowLinks(
        of_tenant(page, who, window.tenant_id),
        of_tenant(f"{page}/end", who, window.tenant_id),
        of_tenant(f"{PATH}/+new", who, window.tenant_id, like=str(window.window_id)),
    )

"""The page of one window: its form with a preview, for a new one and for one that is there.

One form does both: ``do`` says whether it saves or shows the preview, so that all of it works without script.
"""

from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance import zones
from appliance.alerts.maintenance import store
from appliance.alerts.maintenance.window import WEEKDAYS, Coverage, Window, WindowDraft
from appliance.devices import sites as site_store
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.maintenance import form, listing
from appliance.web.maintenance.actions import MaintenanceActions, WindowPage, may_end
from appliance.web.maintenance.form import Given, ShownPreview
from appliance.web.maintenance.views import PATH, done
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer

MAX_SITES = 1000
"""Sites to choose from."""
NEW = Given({"kind": "once", "which": "some", "more_days": "0"})


def blueprint(renderer: PageRenderer, windows: MaintenanceActions) -> Blueprint:
    """Return the routes of the form."""
    routes = Blueprint("maintenance_form", __name__)
    page = FormPage(renderer, windows)

    @routes.get(f"{PATH}/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        like = request.args.get("like")
        if not like:
            return await page.show(None, NEW)
        return await page.show(None, form.repeated((await windows.get(like)).windows[0].window, page.now()))

    @routes.post(f"{PATH}/+new")
    @allow(ADMINS)
    async def create() -> Response:
        return await page.take(None)

    @routes.get(f"{PATH}/<window_id>")
    @allow(READERS)
    async def show_one(window_id: str) -> Response:
        kept = await windows.get(window_id)
        window = kept.windows[0].window
        preview = await page.preview(form.draft_of_window(window), window) if may_change(viewer()) else None
        return await page.show(kept, form.filled(window), preview=preview)

    @routes.post(f"{PATH}/<window_id>")
    @allow(ADMINS)
    async def save(window_id: str) -> Response:
        return await page.take(await windows.get(window_id))

    return routes


class FormPage:
    """Shows the form of a window, and takes what was typed. ``kept``: the window that is edited; None: a new one."""

    def __init__(self, renderer: PageRenderer, windows: MaintenanceActions) -> None:
        self._renderer = renderer
        self._windows = windows

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self._renderer.platform.clock.settled()

    async def take(self, kept: WindowPage | None) -> Response:
        """Save what was typed, or show what it would do."""
        fields = await forms.read()
        given, before = form.typed(fields), None if kept is None else kept.windows[0].window
        try:
            if fields.text("do", most=16) == "preview":
                return await self.show(kept, given, preview=await self.preview(form.draft_of(fields), before))
            draft = form.draft_of(fields)
            if before is None:
                await self._windows.create(draft)
            else:
                await self._windows.edit(str(before.window_id), lambda _kept: draft, forms.version(fields))
        except Invalid as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return await self.show(kept, given, fault=_at_its_place(fault_of(error)), status=status)
        except Conflict as error:
            return await self.show(kept, given, fault=fault_of(error), status=HTTPStatus.CONFLICT)
        return done("created" if before is None else "saved")

    async def show(
        self,
        kept: WindowPage | None,
        given: Given,
        *,
        preview: ShownPreview | None = None,
        fault: Fault | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        """Return the page with the form as given."""
        who, tenant_id = viewer(), tenant_of()
        async with self._renderer.platform.access.reading() as connection:
            sites = await site_store.list_page(connection, tenant_id, limit=MAX_SITES)
            tenant_zone = await store.zone_for(connection, tenant_id, Coverage())
        address = f"{PATH}/+new" if kept is None else f"{PATH}/{kept.windows[0].window.window_id}"
        return await self._renderer.page(
            "maintenance/window.html",
            status=status,
            row=None if kept is None else listing.rows_of(kept, self.now())[0],
            given=given,
            fault=fault,
            preview=preview,
            sites=[(one.site.site_id, one.site.title) for one in sites],
            weekdays=[(day.value, day.value.capitalize()) for day in WEEKDAYS],
            ends=form.ENDS,
            zones=[("", f"The zone of the site, else {tenant_zone}"), *zones.choices_with(given.get("time_zone"))],
            action=of_tenant(address, who, tenant_id),
            end=of_tenant(f"{address}/end", who, tenant_id),
            delete=of_tenant(f"{address}/delete", who, tenant_id),
            repeat=_repeat(kept, tenant_id),
            back=of_tenant(PATH, who, tenant_id),
            may_change=may_change(who),
            may_end=may_end(),
        )

    async def preview(self, draft: WindowDraft, before: Window | None) -> ShownPreview:
        """Return what saving a draft would do. Raises Invalid with the field."""
        return form.shown(await self._windows.preview(draft, before), draft.coverage, self.now())


def _repeat(kept: WindowPage | None, tenant_id: str) -> str:
    like = {} if kept is None else {"like": str(kept.windows[0].window.window_id)}
    return of_tenant(f"{PATH}/+new", viewer(), tenant_id, **like)


def _at_its_place(fault: Fault) -> Fault:
    """Return a fault at the field of the form that is to blame: the length is given by the end."""
    field, text = fault
    return ("end_time" if field == "length_minutes" else field, text)

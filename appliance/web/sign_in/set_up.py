"""The set-up: a form behind a one-time link, then the lines that send a first message, and the wait for it."""

from http import HTTPStatus
from uuid import UUID
from zoneinfo import available_timezones

from quart import Blueprint, Response, g, request

from appliance import onboarding
from appliance.errors import Conflict, Invalid
from appliance.ingest.summary import LastReading
from appliance.onboarding import SetUpForm, SetUpResult
from appliance.people.signin import SignIn
from appliance.web.access.auth import DOOR, OPERATORS, Viewer, allow, viewer
from appliance.web.access.gate import visit
from appliance.web.devices import commands as device_lines
from appliance.web.devices.commands import Lines
from appliance.web.devices.port import DeviceListener
from appliance.web.live.parts import LivePart
from appliance.web.page import forms
from appliance.web.page.frame import Frame
from appliance.web.page.public import PublicPages
from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform

PAGE = "welcome"
KEEP_SECRETS = 3600.0
"""Seconds for which the first device's secrets can be seen again by whoever made it, as long as this process lives."""
MANY = 1000
"""Readings among which the first device's is looked for."""


class Beginnings:
    """The first device's secrets, in memory only, until its first message is seen or an hour is over."""

    def __init__(self) -> None:
        self._made: tuple[SetUpResult, float] | None = None

    def keep(self, made: SetUpResult, now: float) -> None:
        """Keep what was made just now (monotonic seconds)."""
        self._made = (made, now + KEEP_SECRETS)

    def of(self, user_id: UUID, now: float) -> SetUpResult | None:
        """What this user made, if it is still kept."""
        if self._made is None or now > self._made[1] or self._made[0].user_id != user_id:
            return None
        return self._made[0]


def blueprint(renderer: PageRenderer, pages: PublicPages, sign_in: SignIn, listener: DeviceListener) -> Blueprint:
    """The routes of the set-up page and of what follows it."""
    routes = Blueprint("set_up", __name__)
    platform, templates = renderer.platform, renderer.templates
    beginnings = Beginnings()
    zones = sorted(available_timezones() - {"localtime"})

    def form(
        status: HTTPStatus = HTTPStatus.OK, given: SetUpForm | None = None, error: Invalid | None = None
    ) -> Response:
        values = given or SetUpForm("", "", "", "")
        return pages.show("sign_in/set-up.html", status, given=values, error=error, zones=zones)

    @routes.get(f"{onboarding.PATH}<secret>")
    @allow(DOOR)
    async def show(secret: str) -> Response:
        async with platform.pool.connection() as connection:
            works = await onboarding.is_open(connection, secret, platform.access.now())
        if works:
            return form(HTTPStatus.OK, SetUpForm("", "", "", ""))
        return pages.show("sign_in/set-up-over.html", HTTPStatus.NOT_FOUND)

    @routes.post(f"{onboarding.PATH}<secret>")
    @allow(DOOR)
    async def set_up(secret: str) -> Response:
        fields = await forms.read()
        given = SetUpForm(
            fields.text("email"), fields.raw("password"), fields.text("organisation"), fields.text("time_zone")
        )
        try:
            done = await onboarding.set_up(platform.pool, sign_in, secret, given, request.remote_addr)
        except Invalid as error:
            return form(HTTPStatus.UNPROCESSABLE_ENTITY, given, error)
        except Conflict as error:
            return form(HTTPStatus.CONFLICT, given, Invalid(str(error), "organisation"))
        if done is None:
            return pages.show("sign_in/set-up-over.html", HTTPStatus.NOT_FOUND)
        user, made = done
        beginnings.keep(made, platform.clock.monotonic())
        return pages.welcome(await sign_in.welcome(user, visit(), g.browser), "/welcome")

    @routes.get("/welcome")
    @allow(OPERATORS)
    async def welcome() -> Response:
        who = viewer()
        made = beginnings.of(who.user_id, platform.clock.monotonic())
        frame = Frame(who, platform.clock.wall(), "/welcome", PAGE if made else None)
        html = templates.render(
            "sign_in/welcome.html",
            frame=frame,
            made=made,
            lines=None if made is None else lines(listener, made, request.scheme, request.host),
            reading=None if made is None else first_reading(platform, made),
        )
        return Response(html, content_type="text/html; charset=utf-8")

    async def fragments(seen_by: Viewer) -> list[LivePart]:
        made = beginnings.of(seen_by.user_id, platform.clock.monotonic())
        if made is None:
            return []
        frame = Frame(seen_by, platform.clock.wall(), "/welcome", PAGE)
        html = templates.render(
            "sign_in/first-message.html", frame=frame, made=made, reading=first_reading(platform, made)
        )
        return [LivePart("first-message", html)]

    renderer.live_pages.add(PAGE, fragments)
    return routes


def first_reading(platform: Platform, made: SetUpResult) -> LastReading | None:
    """The newest reading of the first device, once there is one."""
    readings = platform.live.readings(MANY, made.tenant_id)
    return next((reading for reading in readings if reading.device_id == made.device.device_id), None)


def lines(listener: DeviceListener, made: SetUpResult, scheme: str, host: str) -> Lines:
    """The two commands, with the address that the browser used."""
    device = made.device
    secrets = {"password": device.password, "token": device.token}
    return device_lines.lines(listener, device.tenant_id, device.device_id, scheme, host, **secrets)

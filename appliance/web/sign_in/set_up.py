"""The set-up: a form behind a one-time link, then the commands that send a first message, and the wait for it."""

from http import HTTPStatus
from uuid import UUID

from quart import Blueprint, Response, g, request

from appliance import onboarding, zones
from appliance.errors import Conflict, Invalid
from appliance.ingest.summary import LastReading
from appliance.onboarding import SetUpForm, SetUpResult
from appliance.people.signin import SignIn
from appliance.web.access.auth import OPERATORS, SIGN_IN_PAGES, Viewer, allow, viewer
from appliance.web.access.gate import visit
from appliance.web.devices import commands
from appliance.web.devices.commands import Lines
from appliance.web.devices.port import ListenerAddress
from appliance.web.http.forwarding import own_url
from appliance.web.live.parts import LivePart
from appliance.web.page import forms
from appliance.web.page.frame import Frame
from appliance.web.page.public import PublicPages
from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform

PAGE = "welcome"
KEEP_SECRETS = 3600.0
"""Seconds for which their owner can see the first device's secrets again, if this process lives that long."""
READINGS_SEARCHED = 1000
"""Newest readings among which the first device's is searched."""


class FirstDeviceSecrets:
    """The first device's secrets, in memory only, for ``KEEP_SECRETS`` seconds after the set-up."""

    def __init__(self) -> None:
        self._kept: tuple[SetUpResult, float] | None = None

    def keep(self, result: SetUpResult, now: float) -> None:
        """Keep the result of a set-up at ``now`` (monotonic seconds)."""
        self._kept = (result, now + KEEP_SECRETS)

    def of(self, user_id: UUID, now: float) -> SetUpResult | None:
        """Return the result of this user's set-up if it is still kept, else None."""
        if self._kept is None or now > self._kept[1] or self._kept[0].user_id != user_id:
            return None
        return self._kept[0]


def blueprint(renderer: PageRenderer, pages: PublicPages, sign_in: SignIn, listener: ListenerAddress) -> Blueprint:
    """Return the routes of the set-up page and of the page for the first message."""
    routes = Blueprint("set_up", __name__)
    secrets = FirstDeviceSecrets()
    _add_set_up(routes, renderer.platform, pages, sign_in, secrets)
    _add_welcome(routes, renderer, listener, secrets)
    return routes


def _add_set_up(
    routes: Blueprint, platform: Platform, pages: PublicPages, sign_in: SignIn, secrets: FirstDeviceSecrets
) -> None:
    def page(
        status: HTTPStatus = HTTPStatus.OK, given: SetUpForm | None = None, error: Invalid | None = None
    ) -> Response:
        given = given or SetUpForm("", "", "", "")
        return pages.show("sign_in/set-up.html", status, given=given, error=error, zones=zones.choices_with_old())

    @routes.get(f"{onboarding.PATH}<secret>")
    @allow(SIGN_IN_PAGES)
    async def show(secret: str) -> Response:
        async with platform.pool.connection() as connection:
            works = await onboarding.is_open(connection, secret, platform.access.settled())
        return page() if works else pages.show("sign_in/set-up-over.html", HTTPStatus.NOT_FOUND)

    @routes.post(f"{onboarding.PATH}<secret>")
    @allow(SIGN_IN_PAGES)
    async def set_up(secret: str) -> Response:
        fields = await forms.read()
        given = SetUpForm(
            fields.text("email"), fields.raw("password"), fields.text("organisation"), fields.text("time_zone")
        )
        try:
            done = await onboarding.set_up(
                platform.pool, sign_in, secret, given, request.remote_addr, grace=platform.grace
            )
        except Invalid as error:
            return page(HTTPStatus.UNPROCESSABLE_ENTITY, given, error)
        except Conflict as error:
            return page(HTTPStatus.CONFLICT, given, Invalid(str(error), "organisation"))
        if done is None:
            return pages.show("sign_in/set-up-over.html", HTTPStatus.NOT_FOUND)
        user, result = done
        secrets.keep(result, platform.clock.monotonic())
        return pages.welcome(await sign_in.welcome(user, visit(), g.browser), "/welcome")


def _add_welcome(
    routes: Blueprint, renderer: PageRenderer, listener: ListenerAddress, secrets: FirstDeviceSecrets
) -> None:
    platform, templates = renderer.platform, renderer.templates

    @routes.get("/welcome")
    @allow(OPERATORS)
    async def welcome() -> Response:
        who = viewer()
        made = secrets.of(who.user_id, platform.clock.monotonic())
        frame = Frame(who, platform.clock.now(), "/welcome", PAGE if made else None)
        html = templates.render(
            "sign_in/welcome.html",
            frame=frame,
            made=made,
            commands=None
            if made is None
            else first_message_commands(listener, made, own_url(platform.public_url), request.host),
            reading=None if made is None else first_reading(platform, made),
        )
        return Response(html, content_type="text/html; charset=utf-8")

    async def live_parts(seen_by: Viewer) -> list[LivePart]:
        made = secrets.of(seen_by.user_id, platform.clock.monotonic())
        if made is None:
            return []
        frame = Frame(seen_by, platform.clock.now(), "/welcome", PAGE)
        html = templates.render(
            "sign_in/first-message.html", frame=frame, made=made, reading=first_reading(platform, made)
        )
        return [LivePart("first-message", html)]

    renderer.live_pages.add(PAGE, live_parts)


def first_reading(platform: Platform, made: SetUpResult) -> LastReading | None:
    """Return the newest reading of the first device, or None before its first message."""
    readings = platform.live.readings(READINGS_SEARCHED, made.tenant_id)
    return next((reading for reading in readings if reading.device_id == made.device.device_id), None)


def first_message_commands(listener: ListenerAddress, made: SetUpResult, url: str, host: str) -> Lines:
    """Return the commands that send a first message to the address that the browser used."""
    device = made.device
    secrets = {"password": device.password, "token": device.token}
    return commands.lines(listener, device.tenant_id, device.device_id, url, host, **secrets)

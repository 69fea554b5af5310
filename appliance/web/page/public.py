"""The pages before the sign-in: they have no viewer, and their forms are bound to the browser."""

from http import HTTPStatus

from quart import Response, g

from appliance.people import secret_token
from appliance.people.signin import SignedIn
from appliance.web.access.identity import csrf_token
from appliance.web.http.cookies import Cookies
from appliance.web.page.renderer import see_other
from appliance.web.page.templating import Templates
from appliance.web.platform import Platform


class PublicPages:
    """Renders these pages, keeps the browser's cookie, and signs people in."""

    def __init__(self, platform: Platform, templates: Templates) -> None:
        self.cookies = Cookies()
        self.clock = platform.clock
        self._templates = templates

    def show(self, name: str, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
        """Return the page, with a form that only this browser can send."""
        browser = g.get("browser") or secret_token.new()
        html = self._templates.render(name, csrf_token=csrf_token(browser), **values)
        response = Response(html, status=status, content_type="text/html; charset=utf-8")
        self.cookies.set_browser(response, browser)
        return response

    def welcome(self, signed: SignedIn, where: str) -> Response:
        """Return a redirect that signs the browser in."""
        response = see_other(where)
        self.cookies.set_session(response, signed.session, kept=signed.kept)
        self.cookies.set_browser(response, signed.browser)
        return response

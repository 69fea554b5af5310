"""What the pages before the sign-in share: they are for nobody yet, and their forms are bound to the browser."""

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
    """Renders them, keeps the browser's cookie, and lets people in."""

    def __init__(self, platform: Platform, templates: Templates) -> None:
        self.cookies = Cookies(platform.public_url)
        self.clock = platform.clock
        self._templates = templates

    def show(self, name: str, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
        """The page, with a form that this browser alone can send."""
        browser = g.get("browser") or secret_token.new()
        html = self._templates.render(name, csrf_token=csrf_token(browser), **values)
        response = Response(html, status=status, content_type="text/html; charset=utf-8")
        self.cookies.set_browser(response, browser)
        return response

    def welcome(self, signed: SignedIn, where: str) -> Response:
        """On to where they wanted to go, signed in."""
        response = see_other(where)
        self.cookies.set_session(response, signed.session, kept=signed.kept)
        self.cookies.set_browser(response, signed.browser)
        return response

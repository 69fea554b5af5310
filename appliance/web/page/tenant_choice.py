"""Asks operators for the tenant, where a page belongs to one and its address names none.

The one tenant of an appliance is chosen by itself. Among several the page asks, and goes on to the same address with
the tenant in it, so that whatever else the address says is kept. Programs name the tenant: they get the error.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from quart import Quart, Response, request

from appliance.db import statements
from appliance.errors import ApplianceError
from appliance.web.access.gate import READING
from appliance.web.access.transactions import Access, TenantNotChosen
from appliance.web.openapi.problem import is_for_programs
from appliance.web.page.address import Address
from appliance.web.page.renderer import PageRenderer, see_other

MAX_CHOICES = 1000
"""Tenants to choose from; with more, the page of tenants is the way."""

CHOICES = statements.load("web")["tenant_choices"]


class TenantChoice:
    """Answers requests that need a tenant and name none."""

    def __init__(self, renderer: PageRenderer, refuse: Callable[[ApplianceError], Awaitable[Response]]) -> None:
        self._renderer = renderer
        self._refuse = refuse

    def install(self, app: Quart) -> None:
        """Register the answer."""
        app.register_error_handler(TenantNotChosen, self.ask)

    async def ask(self, error: TenantNotChosen) -> Response:
        """Go on with the only tenant, or ask which one it is. A form among several tenants is refused."""
        if is_for_programs(request.path):
            return await self._refuse(error)
        choices = await tenant_choices(self._renderer.platform.access)
        address = Address.of_request()
        if len(choices) == 1:
            there = str(Address(address.path, (*address.without(["tenant"]), ("tenant", choices[0][0]))))
            if request.method in READING:
                return see_other(there)
            return Response("", HTTPStatus.TEMPORARY_REDIRECT, {"Location": there})  # the form is sent again
        if request.method not in READING:
            return await self._refuse(error)
        return await self._renderer.page(
            "choose-tenant.html",
            choices=choices,
            more=len(choices) >= MAX_CHOICES,
            kept=address.without(["tenant"]),
        )


async def tenant_choices(access: Access) -> list[tuple[str, str]]:
    """Return the ids of all tenants, each with what a list of them says, by name; at most ``MAX_CHOICES``."""
    async with access.reading() as connection:
        cursor = await connection.execute(CHOICES, {"limit": MAX_CHOICES})
        return [(tenant_id, f"{name} ({tenant_id})" if name else tenant_id) async for tenant_id, name in cursor]

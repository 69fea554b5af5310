"""The pages of users: the list, invitations, roles, access and API tokens. Links for passwords are shown only once."""

from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from quart import Blueprint, Response, request

from appliance.errors import Conflict, Invalid, NotFound
from appliance.people.role import CUSTOMER_ROLES, Role
from appliance.people.users import MAX_NAME, UserFilter, UserState
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import TenantNotChosen, tenants_shown
from appliance.web.page import csv, cursor, forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.page.tenant_choice import tenant_choices
from appliance.web.people import export
from appliance.web.people.actions import Invited, PeopleActions
from appliance.web.people.labels import ROLES, STATES

PAGE_ROWS = 50

DONE = {
    "role": "The role is changed.",
    "disabled": "The user is disabled: sessions and links have ended, tokens no longer work.",
    "enabled": "The user is enabled and may sign in again.",
    "token": "The token is revoked.",
}
MAX_SEARCH = 254


@dataclass(frozen=True, slots=True)
class InviteForm:
    """The fields of the form for a new user."""

    email: str = ""
    name: str = ""
    role: Role = Role.VIEWER
    tenant: str = ""
    """For operators who see all tenants: the one chosen in the form."""


def blueprint(renderer: PageRenderer, actions: PeopleActions) -> Blueprint:
    """Return the routes of the pages of users."""
    routes = Blueprint("users", __name__)
    _add_list(routes, renderer, actions)
    _add_invite(routes, renderer, actions)
    page = UserPage(renderer, actions)
    _add_user(routes, page, actions)
    _add_access(routes, renderer, page, actions)
    return routes


def _add_list(routes: Blueprint, renderer: PageRenderer, actions: PeopleActions) -> None:
    @routes.get("/users")
    @allow(ADMINS)
    async def users() -> Response:
        role = next((role for role in Role if role == request.args.get("role")), None)
        state = next((state for state in UserState if state == request.args.get("state")), None)
        after = cursor.read(request.args.get("cursor"), tuple[str, UUID])
        search = "".join(filter(str.isprintable, request.args.get("q", "")))[:MAX_SEARCH]
        wanted = UserFilter(tenants_shown(), role, state, search, after)
        if csv.asked_for():
            return export.answer(renderer.platform, viewer(), wanted)
        page = await actions.list_page(wanted, PAGE_ROWS + 1)
        last = page[PAGE_ROWS - 1] if len(page) > PAGE_ROWS else None
        return await renderer.page(
            "people/users.html",
            users=page[:PAGE_ROWS],
            choices=[(value, label) for value, label, _ in _roles()],
            states=STATES,
            next=cursor.write(None if last is None else (last.email, last.user_id)),
        )


def _add_invite(routes: Blueprint, renderer: PageRenderer, actions: PeopleActions) -> None:
    async def page(given: InviteForm, fault: Fault | None = None) -> Response:
        status = HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK
        tenants = await tenant_choices(renderer.platform.access) if _asks_for_tenant() else None
        return await renderer.page(
            "people/invite.html", status=status, given=given, fault=fault, roles=_roles(), tenants=tenants
        )

    @routes.get("/users/new")
    @allow(ADMINS)
    async def new() -> Response:
        return await page(InviteForm())

    @routes.post("/users/new")
    @allow(ADMINS)
    async def invite() -> Response:
        fields = await forms.read()
        given = InviteForm(fields.typed("email"), fields.typed("name"), tenant=fields.typed("tenant"))
        try:
            given = InviteForm(
                fields.text("email"),
                fields.text("name", most=MAX_NAME),
                fields.choice("role", Role),
                fields.text("tenant", most=64) if _asks_for_tenant() else "",
            )
            password = fields.raw("current")
            made = await actions.add(given.email, given.role, given.name, given.tenant or None, password=password)
        except TenantNotChosen:
            return await page(given, ("tenant", "Choose the organisation that the user belongs to."))
        except (Invalid, Conflict, NotFound) as error:
            return await page(given, fault_of(error, "tenant" if isinstance(error, NotFound) else ""))
        return await _link(renderer, made, "Invited", HTTPStatus.CREATED)


class UserPage:
    """The page of one user."""

    def __init__(self, renderer: PageRenderer, actions: PeopleActions) -> None:
        self._renderer = renderer
        self._actions = actions

    async def show(self, user_id: UUID) -> Response:
        """Return the page."""
        return await self._page(user_id, None, HTTPStatus.OK)

    async def refuse(self, user_id: UUID, error: Invalid | Conflict, password: str = "") -> Response:
        """Return the page with what is wrong; ``password``: the form's field for the viewer's password."""
        field, text = fault_of(error)
        status = HTTPStatus.CONFLICT if isinstance(error, Conflict) else HTTPStatus.UNPROCESSABLE_ENTITY
        return await self._page(user_id, (password if field == "current" else field, text), status)

    async def _page(self, user_id: UUID, fault: Fault | None, status: HTTPStatus) -> Response:
        return await self._renderer.page(
            "people/user.html",
            status=status,
            done=DONE,
            user=await self._actions.get(user_id),
            tokens=await self._actions.tokens(user_id),
            roles=[(role.value, label, text) for role, (label, text) in ROLES.items() if role in CUSTOMER_ROLES],
            fault=fault,
        )


def _add_user(routes: Blueprint, page: UserPage, actions: PeopleActions) -> None:
    @routes.get("/users/<uuid:user_id>")
    @allow(ADMINS)
    async def show(user_id: UUID) -> Response:
        return await page.show(user_id)

    @routes.post("/users/<uuid:user_id>/role")
    @allow(ADMINS)
    async def set_role(user_id: UUID) -> Response:
        fields = await forms.read()
        try:
            was = fields.choice("was", Role) if "was" in fields else None
            await actions.set_role(user_id, fields.choice("role", Role), was, password=fields.raw("role_password"))
        except (Invalid, Conflict) as error:
            return await page.refuse(user_id, error, "role_password")
        return see_other(f"/users/{user_id}?done=role")


def _add_access(routes: Blueprint, renderer: PageRenderer, page: UserPage, actions: PeopleActions) -> None:
    @routes.post("/users/<uuid:user_id>/disable")
    @allow(ADMINS)
    async def disable(user_id: UUID) -> Response:
        try:
            await actions.disable(user_id)
        except Conflict as error:
            return await page.refuse(user_id, error)
        return see_other(f"/users/{user_id}?done=disabled")

    @routes.post("/users/<uuid:user_id>/enable")
    @allow(ADMINS)
    async def enable(user_id: UUID) -> Response:
        try:
            await actions.enable(user_id, password=(await forms.read()).raw("access_password"))
        except Invalid as error:
            return await page.refuse(user_id, error, "access_password")
        return see_other(f"/users/{user_id}?done=enabled")

    @routes.post("/users/<uuid:user_id>/reset")
    @allow(ADMINS)
    async def reset(user_id: UUID) -> Response:
        fields = await forms.read()
        try:
            made = await actions.reset(
                user_id,
                drop_second_factor=fields.flag("drop_second_factor"),
                password=fields.raw("access_password"),
            )
        except (Invalid, Conflict) as error:
            return await page.refuse(user_id, error, "access_password")
        return await _link(renderer, made, "New password")

    @routes.post("/users/<uuid:user_id>/tokens/<uuid:token_id>/revoke")
    @allow(ADMINS)
    async def revoke_token(user_id: UUID, token_id: UUID) -> Response:
        await actions.revoke_token(user_id, token_id)
        return see_other(f"/users/{user_id}?done=token")


async def _link(renderer: PageRenderer, made: Invited, title: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return await renderer.page("people/link.html", status=status, made=made, heading=title)


def _asks_for_tenant() -> bool:
    """Return whether the form has to ask for the tenant: it is an operator's, and the address names none."""
    return viewer().is_operator and tenants_shown() is None


def _roles() -> list[tuple[str, str, str]]:
    """Return the roles that the viewer can give: value, label and what the role may do."""
    given = [*CUSTOMER_ROLES] + ([Role.OPERATOR] if viewer().is_operator else [])
    return [(role.value, *ROLES[role]) for role in given]

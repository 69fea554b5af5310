"""The form pages of a collection: add a thing, show and edit it, delete it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic

from quart import Blueprint, Response

from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import ADMINS, READERS, allow, may_change, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.page import forms
from appliance.web.page.collection import Collection, K, T
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer, see_other


@dataclass(frozen=True, slots=True)
class CollectionForm(Generic[T, K]):
    """The form of one thing."""

    path: str
    """The address of the list; the form of a thing is below it, and that of a new one at ``+new``."""
    template: str
    """Gets ``kept`` (None: a new thing), ``given``, ``fault``, ``may_change``, ``back``, ``delete`` and ``values``."""
    id_field: str
    id_missing: str
    """What to do, if a new thing has no id."""
    fields: tuple[str, ...]
    parse: Callable[[Fields, str], T]
    """Makes the thing with this id from what was typed. Raises Invalid, naming the field."""
    given: Callable[[K], Mapping[str, str]]
    """Fills the form in with a thing as it is."""
    values: Callable[[K | None], Mapping[str, Any]]


def add_forms(
    routes: Blueprint, renderer: PageRenderer, collection: Collection[T, K], form: CollectionForm[T, K]
) -> None:
    """Add the routes of the forms."""
    show = _shower(renderer, collection, form)
    thing = f"{form.path}/<{form.id_field}>"

    @routes.get(f"{form.path}/+new")
    @allow(ADMINS)
    async def show_new() -> Response:
        return await show(None, {}, None, HTTPStatus.OK)

    @routes.post(f"{form.path}/+new")
    @allow(ADMINS)
    async def create() -> Response:
        fields = await forms.read()
        try:
            await collection.create(form.parse(fields, fields.needed(form.id_field, form.id_missing, most=64)))
        except Invalid as error:
            return await show(None, _typed(fields, form), fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await show(None, _typed(fields, form), fault_of(error, form.id_field), HTTPStatus.CONFLICT)
        return _done(form, "created")

    @routes.get(thing)
    @allow(READERS)
    async def show_one(**ids: str) -> Response:
        kept = await collection.get(ids[form.id_field])
        return await show(kept, form.given(kept), None, HTTPStatus.OK)

    @routes.post(thing)
    @allow(ADMINS)
    async def save(**ids: str) -> Response:
        fields = await forms.read()
        identity = ids[form.id_field]
        kept = await collection.get(identity)
        try:
            version = forms.version(fields)
            await collection.change(form.parse(fields, identity), version)
        except Invalid as error:
            return await show(kept, _typed(fields, form), fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await show(kept, _typed(fields, form), fault_of(error), HTTPStatus.CONFLICT)
        return _done(form, "saved")

    @routes.post(f"{thing}/delete")
    @allow(ADMINS)
    async def delete(**ids: str) -> Response:
        try:
            await collection.delete(ids[form.id_field])
        except Conflict as error:
            kept = await collection.get(ids[form.id_field])
            return await show(kept, form.given(kept), fault_of(error), HTTPStatus.CONFLICT)
        return _done(form, "deleted")


Shower = Callable[[K | None, Mapping[str, str], Fault | None, HTTPStatus], Awaitable[Response]]


def _shower(renderer: PageRenderer, collection: Collection[T, K], form: CollectionForm[T, K]) -> Shower[K]:
    async def show(kept: K | None, given: Mapping[str, str], fault: Fault | None, status: HTTPStatus) -> Response:
        return await renderer.page(
            form.template,
            status=status,
            kept=kept,
            given=given,
            fault=fault,
            may_change=may_change(viewer()),
            back=of_tenant(form.path, viewer(), tenant_of()),
            delete=None if kept is None else collection.address(form.path, kept, "/delete"),
            **form.values(kept),
        )

    return show


def _typed(fields: Fields, form: CollectionForm[T, K]) -> dict[str, str]:
    names = (form.id_field, *form.fields, "version")
    return {name: str(fields.values[name][-1]) for name in names if fields.values.get(name)}


def _done(form: CollectionForm[T, K], what: str) -> Response:
    return see_other(of_tenant(form.path, viewer(), tenant_of(), done=what))

"""The actions on routes, for pages and the API: one transaction of the current viewer each."""

from collections.abc import Callable, Sequence
from uuid import UUID

from appliance.alerts.alert import AlertType
from appliance.db.require import require
from appliance.delivery.routes import explanation, store
from appliance.delivery.routes.explanation import JudgedAlert
from appliance.delivery.routes.matching import Decision
from appliance.delivery.routes.route import Route
from appliance.delivery.routes.store import KnownRoute, RouteFilter, RoutePosition
from appliance.delivery.routes.validation import RouteDraft
from appliance.errors import Outdated
from appliance.web.access.transactions import tenant_of
from appliance.web.page import cursor
from appliance.web.platform import Platform

ALERT_TYPES = tuple(kind.value for kind in AlertType)


class RouteActions:
    """The routes as the current viewer may see and change them. Ids of paths: no id raises NotFound."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._access = platform.access

    async def page(self, wanted: RouteFilter, limit: int, after: str) -> tuple[Sequence[KnownRoute], str | None]:
        """Return a page of routes, and the cursor of the next one if there is one. Raises Invalid."""
        position = cursor.read(after, RoutePosition)
        async with self._access.reading() as connection:
            found = await store.list_page(connection, wanted, limit=limit + 1, after=position)
        following = found[limit - 1].position if len(found) > limit else None
        return found[:limit], cursor.write(following)

    async def get(self, route_id: str) -> KnownRoute:
        """Return one route. Raises NotFound."""
        async with self._access.reading() as connection:
            return await store.get(connection, tenant_of(), route_of_path(route_id))

    async def create(self, draft: RouteDraft) -> KnownRoute:
        """Make a route. Raises Invalid with the field; Conflict if the name is taken; NotFound."""
        async with self._access.changing() as connection:
            context = self._access.context()
            return await store.create(connection, tenant_of(), draft, context, alert_types=ALERT_TYPES)

    async def edit(self, route_id: str, edited: Callable[[Route], RouteDraft], version: int | None) -> KnownRoute:
        """Replace a route by what ``edited`` makes of it.

        Raises Invalid with the field; NotFound; Conflict if it has changed since ``version``, or the name is taken.
        """
        tenant_id, identity, context = tenant_of(), route_of_path(route_id), self._access.context()
        async with self._access.changing() as connection:
            kept = (await store.get(connection, tenant_id, identity)).route
            if version not in (None, kept.version):
                raise Outdated(f"{kept.name} was changed by someone else; read it again.")
            return await store.change(
                connection,
                tenant_id,
                identity,
                edited(kept),
                context,
                version=kept.version,
                alert_types=ALERT_TYPES,
            )

    async def delete(self, route_id: str) -> None:
        """Delete a route. Raises NotFound."""
        async with self._access.changing() as connection:
            await store.delete(connection, tenant_of(), route_of_path(route_id), self._access.context())

    async def preview(self, draft: RouteDraft, route_id: UUID | None) -> list[JudgedAlert]:
        """Return what a draft, in place of a route or as a new one, would have made of the newest alerts.

        Raises Invalid with the field; NotFound.
        """
        async with self._access.reading() as connection:
            return await explanation.preview(
                connection, tenant_of(), draft, route_id, now=self._access.now(), alert_types=ALERT_TYPES
            )

    async def decisions_of(self, tenant_id: str, alert_id: int) -> list[Decision]:
        """Return what each route of a tenant would make of the opening of an alert now. Raises NotFound."""
        async with self._access.reading() as connection:
            return await explanation.decisions_of(connection, tenant_id, alert_id)


def route_of_path(text: str) -> UUID:
    """Return the id of a route. Raises NotFound."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    return require(found if str(found) == text.lower() else None, "such route")

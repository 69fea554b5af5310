"""A collection of a tenant: things that people name, each with an id and a version, such as sites and metrics.

Enters: the store of a concept, and what a page or the API has read. Leaves: things as they are kept. Each action is one
transaction of the current viewer.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from quart import Response

from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.errors import Outdated
from appliance.web.access.auth import viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.page import csv, cursor
from appliance.web.page.paths import of_tenant
from appliance.web.platform import Platform

Transaction = Connection[Any]
"""A connection with a transaction of the viewer."""
Position = tuple[str, str]
"""Tenant and id of a thing: lists are ordered by them."""


class _Kept(Protocol):
    @property
    def tenant_id(self) -> str: ...

    @property
    def version(self) -> datetime: ...


T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
K = TypeVar("K", bound=_Kept)


class _Store(Protocol[T_contra, K]):
    """What a module of the domain offers for its things, such as :mod:`appliance.devices.sites`.

    ``T`` is what people say of a thing, ``K`` the thing as it is kept. Raises NotFound for what is not there, Invalid
    with the field, and Conflict: for an id that is taken, a version that is not the latest, a thing that is in use.
    """

    async def list_page(
        self, connection: Transaction, tenant_id: str | None, /, *, limit: int, after: Position | None
    ) -> list[K]: ...

    async def get(self, connection: Transaction, tenant_id: str, identity: str, /) -> K: ...

    async def create(
        self, connection: Transaction, tenant_id: str, thing: T_contra, context: ChangeContext, /
    ) -> K: ...

    async def change(
        self,
        connection: Transaction,
        tenant_id: str,
        thing: T_contra,
        context: ChangeContext,
        /,
        *,
        version: datetime | None,
    ) -> K: ...

    async def delete(
        self, connection: Transaction, tenant_id: str, identity: str, context: ChangeContext, /
    ) -> None: ...


class Collection(Generic[T, K]):
    """The actions of a collection. Ids are those of paths: what can be no id raises NotFound."""

    def __init__(
        self, platform: Platform, store: _Store[T, K], *, id_of_path: Callable[[str], str], id_of: Callable[[K], str]
    ) -> None:
        self._platform = platform
        self._access = platform.access
        self._store = store
        self._id_of_path = id_of_path
        self.id_of = id_of

    async def page(self, limit: int, after: str | None) -> tuple[list[K], str | None]:
        """Return up to ``limit`` things that the viewer sees, and the cursor of the next page if there is one.

        Raises Invalid for a cursor ``after`` that this never returned.
        """
        position = cursor.read(after, tuple[str, str])
        async with self._access.reading() as connection:
            found = await self._store.list_page(connection, tenants_shown(), limit=limit + 1, after=position)
        following = self._position(found[limit - 1]) if len(found) > limit else None
        return found[:limit], cursor.write(following)

    def csv(self, name: str, heads: Sequence[str], cells: Callable[[K], Sequence[Any]]) -> Response:
        """Return the download of all things that the viewer sees; ``cells`` makes the row of each."""
        shown = tenants_shown()

        async def read(connection: Connection[Any], after: Position | None) -> csv.Page[Position]:
            page = await self._store.list_page(connection, shown, limit=csv.PAGE_ROWS, after=after)
            return list(map(cells, page)), csv.next_position(page, self._position)

        return csv.list_answer(self._platform, viewer(), name, heads, read)

    async def get(self, identity: str) -> K:
        """Return one thing. Raises NotFound."""
        async with self._access.reading() as connection:
            return await self._store.get(connection, tenant_of(), self._id_of_path(identity))

    async def create(self, thing: T) -> K:
        """Keep a new thing. Raises Invalid with the field; Conflict if the id is taken; NotFound."""
        async with self._access.changing() as connection:
            return await self._store.create(connection, tenant_of(), thing, self._access.context())

    async def change(self, thing: T, version: datetime | None) -> K:
        """Replace a thing. Raises Invalid with the field; NotFound; Conflict if it has changed since ``version``."""
        async with self._access.changing() as connection:
            return await self._store.change(connection, tenant_of(), thing, self._access.context(), version=version)

    async def edit(self, identity: str, edited: Callable[[K], T], version: datetime | None) -> K:
        """Replace a thing by what ``edited`` makes of it. Raises as :meth:`change` does."""
        async with self._access.changing() as connection:
            kept = await self._store.get(connection, tenant_of(), self._id_of_path(identity))
            if version not in (None, kept.version):
                raise Outdated(f"{identity} has changed since you read it; read it again.")
            return await self._store.change(
                connection, tenant_of(), edited(kept), self._access.context(), version=kept.version
            )

    async def delete(self, identity: str) -> None:
        """Delete a thing. Raises NotFound; Conflict while it is in use."""
        async with self._access.changing() as connection:
            await self._store.delete(connection, tenant_of(), self._id_of_path(identity), self._access.context())

    def address(self, path: str, kept: K, part: str = "") -> str:
        """Return the address of a thing below that of its list, or of ``part`` of it, for the viewer."""
        return of_tenant(f"{path}/{self.id_of(kept)}{part}", viewer(), kept.tenant_id)

    def _position(self, kept: K) -> Position:
        return kept.tenant_id, self.id_of(kept)

"""``/operator/tenants/{tenant_id}/deletion`` and ``/operator/tenant-deletions``: a tenant is deleted, asked twice."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from appliance.errors import Invalid
from appliance.offboarding.deletion import Deletion, DeletionStatus
from appliance.offboarding.kept_copies import CopyKind, KeptCopy
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import cursor
from appliance.web.page.paths import number_of_path, tenant_of_path
from appliance.web.tenants.actions import TenantActions
from appliance.web.tenants.deletions import DeletionActions

Moment = Annotated[datetime, Meta(tz=True)]


class DeletionQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What would go with a tenant."""

    tenant_id: str
    name: str | None
    version: Annotated[datetime, Meta(description="Repeat it to confirm: a stale one is a conflict.")]
    devices: int
    users: int
    rules: int
    integrations: int
    open_alerts: Annotated[int, Meta(description="Their receivers are not told that they end.")]


class DeletionConfirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to the question."""

    tenant_id: Annotated[str, Meta(description="The id of the tenant once more.")]
    version: Annotated[Moment, Meta(description="As the question has it.")]


class CopyOut(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the database that this appliance keeps, and that may have rows of the tenant."""

    kind: Annotated[
        CopyKind,
        Meta(
            description="`backup`: a nightly one. `upgrade`: before an upgrade. `replaced`: moved aside by a restore."
        ),
    ]
    path: Annotated[str, Meta(description="On the machine of the appliance.")]
    made_at: datetime
    until: Annotated[
        datetime | None,
        Meta(description="When it is removed by its age; null: not by that, or its 30 days have not begun."),
    ]
    newer_backups: Annotated[
        int | None, Meta(description="After how many more nightly backups it is removed; null: not by that.")
    ]


class DeletionOut(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion, and how far it is."""

    deletion_id: int
    tenant_id: str
    name: str | None
    status: Annotated[DeletionStatus, Meta(description="DONE: no row was left in any table.")]
    requested_at: datetime
    requested_by: str
    rows_expected: Annotated[int | None, Meta(description="Null while they are being counted.")]
    rows_deleted: int
    deleted: Annotated[Mapping[str, int], Meta(description="Rows deleted so far by table.")]
    removed_at: Annotated[datetime | None, Meta(description="When the tenant itself was removed.")]
    finished_at: datetime | None
    copies: Annotated[
        list[CopyOut] | None,
        Meta(
            description="The copies that this appliance keeps and that may still have its data, the oldest first; null "
            "while they cannot be read. Exports, and backups that are kept elsewhere, are not among them."
        ),
    ]


class DeletionQuery(msgspec.Struct, frozen=True):
    """Which page of the deletions."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class DeletionPage(msgspec.Struct, frozen=True):
    """One page, newest first; ``next`` is the cursor of the next, if there is one."""

    items: list[DeletionOut]
    next: str | None


def blueprint(tenants: TenantActions, actions: DeletionActions) -> Blueprint:
    """Return the routes of deletions in the API."""
    routes = Blueprint("api_tenant_deletions", __name__)
    _add_question(routes, tenants, actions)

    @routes.get("/operator/tenant-deletions")
    @allow(OPERATORS)
    @describe("List deletions of tenants", query=DeletionQuery, answers={HTTPStatus.OK: DeletionPage})
    async def list_deletions() -> Response:
        asked = query(DeletionQuery)
        page, next_id = await actions.list_page(limit=asked.limit, after=cursor.read(asked.cursor, int))
        shown = [_shown(*each) for each in zip(page, await actions.copies(page), strict=True)]
        return answer(DeletionPage(shown, cursor.write(next_id)))

    @routes.get("/operator/tenant-deletions/<int:deletion_id>")
    @allow(OPERATORS)
    @describe("Show how far a deletion is", answers={HTTPStatus.OK: DeletionOut})
    async def show_deletion(deletion_id: int) -> Response:
        found = await actions.get(number_of_path(deletion_id, "deletion"))
        (copies,) = await actions.copies([found])
        return answer(_shown(found, copies))

    return routes


def _add_question(routes: Blueprint, tenants: TenantActions, actions: DeletionActions) -> None:
    @routes.get("/operator/tenants/<tenant_id>/deletion")
    @allow(OPERATORS)
    @describe("Ask what would go with a tenant", answers={HTTPStatus.OK: DeletionQuestion})
    async def ask_deletion(tenant_id: str) -> Response:
        tenant = (await tenants.get(tenant_of_path(tenant_id))).tenant
        goes = await actions.count_tenant(tenant.tenant_id)
        return answer(
            DeletionQuestion(
                tenant_id=tenant.tenant_id,
                name=tenant.name,
                version=tenant.version,
                devices=goes.devices,
                users=goes.users,
                rules=goes.rules,
                integrations=goes.integrations,
                open_alerts=goes.open_alerts,
            )
        )

    @routes.post("/operator/tenants/<tenant_id>/deletion")
    @allow(OPERATORS)
    @describe(
        "Delete a tenant with everything that belongs to it",
        details="Confirms the question of GET: repeat its `tenant_id` and `version`. Devices and people lose their "
        "access at once; rows are deleted in slices afterwards. Nothing brings the tenant back.",
        body=DeletionConfirmation,
        answers={HTTPStatus.ACCEPTED: DeletionOut},
    )
    async def delete_tenant(tenant_id: str) -> Response:
        tenant_id, confirmed = tenant_of_path(tenant_id), await body(DeletionConfirmation)
        if confirmed.tenant_id != tenant_id:
            raise Invalid(f"`tenant_id` is not that of the path: give {tenant_id} to confirm.", "tenant_id")
        deletion_id = await actions.begin(tenant_id, confirmed.version)
        location = {"Location": f"/operator/tenant-deletions/{deletion_id}"}
        begun = await actions.get(deletion_id)
        (copies,) = await actions.copies([begun])
        return answer(_shown(begun, copies), HTTPStatus.ACCEPTED, location)


def _shown(deletion: Deletion, copies: Sequence[KeptCopy] | None) -> DeletionOut:
    return DeletionOut(
        deletion_id=deletion.deletion_id,
        tenant_id=deletion.tenant_id,
        name=deletion.name,
        status=deletion.status,
        requested_at=deletion.requested_at,
        requested_by=deletion.requested_by,
        rows_expected=deletion.rows_expected,
        rows_deleted=deletion.rows_deleted,
        deleted=deletion.deleted,
        removed_at=deletion.removed_at,
        finished_at=deletion.finished_at,
        copies=None if copies is None else [_copy(each) for each in copies],
    )


def _copy(copy: KeptCopy) -> CopyOut:
    return CopyOut(
        kind=copy.kind,
        path=copy.path,
        made_at=copy.made_at,
        until=copy.until,
        newer_backups=copy.newer_backups,
    )

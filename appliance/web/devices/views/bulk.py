"""One lifecycle step for many devices: the question where one is needed, the step, and the result for each device."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response

from appliance.devices.device import Event
from appliance.devices.seats.bulk import BulkAnswer
from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.seat_choices import free_seats, seat_choices, subscriptions_of
from appliance.web.page import forms
from appliance.web.page.paths import of_tenant, to_device
from appliance.web.page.renderer import PageRenderer

STEPS: Mapping[Event, str] = {
    Event.DEACTIVATE: "Deactivate…",
    Event.MOVE: "Move…",
    Event.APPROVE: "Approve",
    Event.REJECT: "Reject",
    Event.REACTIVATE: "Reactivate",
}
"""The steps for many devices, as buttons name them; those with an ellipsis ask a question first."""


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """Return the route of the step."""
    routes = Blueprint("device_bulk", __name__)
    access = renderer.platform.access

    @routes.post("/devices/+bulk")
    @allow(ADMINS)
    async def bulk() -> Response:
        fields = await forms.read()
        step = fields.choice("step", Event)
        chosen, seat = fields.many("device"), fields.text("subscription_id") or None
        tenant_id = tenant_of()
        if step is Event.DEACTIVATE and fields.text("typed") != str(len(set(chosen))):
            fault = ("typed", f"Type {len(set(chosen))} to confirm.") if "typed" in fields else None
            return await _ask(renderer, tenant_id, chosen, "devices/deactivate.html", fault)
        if step is Event.MOVE and seat is None:
            async with access.reading() as connection:
                seats = free_seats(
                    await subscriptions_of(connection, tenant_id), access.settled(), grace=renderer.platform.grace
                )
            return await _ask(renderer, tenant_id, chosen, "devices/move.html", None, seat_choices=seat_choices(seats))
        answers = await actions.step_many(tenant_id, chosen, step, seat)
        return await renderer.page(
            "devices/done.html",
            step=STEPS[step].rstrip("…"),
            answers=answers,
            changed=sum(answer.why_not is None for answer in answers),
            href=lambda answer: _href(answer, tenant_id),
            back=of_tenant("/devices", viewer(), tenant_id),
        )

    return routes


async def _ask(
    renderer: PageRenderer,
    tenant_id: str,
    chosen: Sequence[str],
    question: str,
    fault: tuple[str, str] | None,
    **values: Any,
) -> Response:
    """Return the question before many devices are deactivated or moved. Raises Invalid if none is chosen."""
    unique = sorted(set(chosen))
    if not unique:
        raise Invalid("Choose at least one device.", "device")
    return await renderer.page(
        question,
        status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        devices=unique,
        fault=fault,
        action=of_tenant("/devices/+bulk", viewer(), tenant_id),
        back=of_tenant("/devices", viewer(), tenant_id),
        **values,
    )


def _href(answer: BulkAnswer, tenant_id: str) -> str:
    return to_device(viewer(), tenant_id, answer.device_id)

"""The lifecycle steps of a device: each asks a question that states the effect, and some require the device's id."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices import fleet
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.device import Event
from appliance.errors import Conflict, Invalid, NoCapacity, NotFound
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions
from appliance.web.devices.seat_choices import free_seats, seat_choices, subscriptions_of
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import device_of_path, to_device
from appliance.web.page.renderer import PageRenderer, see_other


@dataclass(frozen=True, slots=True)
class StepQuestion:
    """The question before a step."""

    title: str
    effect: str
    button: str
    kind: str = "primary"
    typed: bool = False
    """Whether the device's id must be typed, because the step cannot be undone."""
    seat: bool = False
    """Whether the step gives a seat, whose subscription can be chosen."""
    done: str = ""


STEP_QUESTIONS: Mapping[str, StepQuestion] = {
    "approve": StepQuestion(
        "Approve {}?", "It takes a seat, and its messages are accepted from now on.", "Approve", seat=True,
        done="approved",
    ),
    "reject": StepQuestion(
        "Reject {}?",
        "It stays in the list as revoked; its messages are refused and not held.",
        "Reject",
        "danger",
        done="rejected",
    ),
    "deactivate": StepQuestion(
        "Deactivate {}?",
        "Its seat becomes free. Further messages are held, and can be replayed after reactivation.",
        "Deactivate",
        "danger",
        done="deactivated",
    ),
    "reactivate": StepQuestion(
        "Reactivate {}?", "It takes a seat again, and its messages are accepted from now on.", "Reactivate", seat=True,
        done="reactivated",
    ),
    "move": StepQuestion(
        "Move {} to another subscription?", "Its present seat becomes free; nothing else changes.", "Move", seat=True,
        done="moved",
    ),
    "revoke": StepQuestion(
        "Revoke {}?",
        "It loses its seat and credential, and is disconnected at once. Its messages are refused and not held.",
        "Revoke",
        "danger",
        typed=True,
        done="revoked",
    ),
    "switch": StepQuestion(
        "Switch to the new password?",
        "The device is disconnected now and must use the new password from then on.",
        "Switch now",
        done="switched",
    ),
}  # fmt: skip


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """Return two routes for each step: its question, and the step itself."""
    routes = Blueprint("device_steps", __name__)
    steps = LifecycleViews(renderer, actions)
    for step in STEP_QUESTIONS:
        path = f"/devices/<device_id>/{step}"
        routes.get(path, endpoint=f"ask_{step}")(allow(ADMINS)(partial(steps.ask, step)))
        routes.post(path, endpoint=f"take_{step}")(allow(ADMINS)(partial(steps.take, step)))
    return routes


class LifecycleViews:
    """The pages of the questions, and the steps that their answers take."""

    def __init__(self, renderer: PageRenderer, actions: DeviceActions) -> None:
        self._renderer = renderer
        self._access = renderer.platform.access
        self._actions = actions

    async def ask(
        self, step: str, device_id: str, fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        """Show the question before a step; ``fault`` is what was wrong with its answer."""
        question, tenant_id = STEP_QUESTIONS[step], tenant_of()
        async with self._access.reading() as connection:
            member = await fleet.get(connection, tenant_id, device_of_path(device_id))
            owned = await subscriptions_of(connection, tenant_id) if question.seat else []
        seats = free_seats(owned, self._access.settled(), grace=self._renderer.platform.grace)
        own = member.device.subscription_id
        return await self._renderer.page(
            "devices/step.html",
            status=status,
            step=step,
            member=member,
            question=question,
            fault=fault,
            seat_choices=seat_choices(choice for choice in seats if choice.subscription_id != own),
            title=question.title.format(member.device.name or device_id),
            to=partial(to_device, viewer(), tenant_id, device_id),
        )

    async def take(self, step: str, device_id: str) -> Response:
        """Take the step, or show its question again with what was wrong."""
        fields = await forms.read()
        identity, tenant_id = device_of_path(device_id), tenant_of()
        if STEP_QUESTIONS[step].typed and fields.text("typed") != identity:
            fault = ("typed", f"Type {identity} exactly to confirm.")
            return await self.ask(step, identity, fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            sync_status = await _take(self._actions, tenant_id, identity, step, fields)
        except Invalid as error:
            return await self.ask(step, identity, fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except (Conflict, NoCapacity) as error:
            return await self.ask(step, identity, fault_of(error), HTTPStatus.CONFLICT)
        done = "pending" if sync_status is SyncStatus.PENDING else STEP_QUESTIONS[step].done
        return see_other(to_device(viewer(), tenant_id, identity, done=done))


async def _take(actions: DeviceActions, tenant_id: str, device_id: str, step: str, fields: forms.Fields) -> SyncStatus:
    """Take the step. Raises Invalid, Conflict, NoCapacity, NotFound."""
    match step:
        case "revoke":
            return await actions.revoke(tenant_id, device_id)
        case "switch":
            return await actions.switch(tenant_id, device_id)
        case "deactivate":
            revoke = fields.flag("revoke_credential")
            return await actions.deactivate(tenant_id, device_id, revoke_credential=revoke)
    event = Event(step)
    seat = fields.text("subscription_id", most=64) or None
    if event is Event.MOVE and seat is None:
        raise Invalid("Choose the subscription.", "subscription_id")
    try:
        await actions.step(tenant_id, device_id, event, seat)
    except NotFound:
        if seat is None:
            raise
        raise Invalid("The subscription or the device does not exist any more.", "subscription_id") from None
    return SyncStatus.APPLIED

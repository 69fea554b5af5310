"""What people do with one alert or with many: the questions where one is needed, the step, and what was skipped.

Acknowledging is one press. A silence asks for its end and a reason, closing for a note: each question is a page of its
own, which a script shows as a dialog. Whoever came from the list goes back to it as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance import local_time
from appliance.alerts.actions import MAX_NOTE, AlertAnswer, AlertOutcome, AskedStep
from appliance.alerts.lifecycle import REFUSALS, AlertStep
from appliance.errors import Conflict, Invalid
from appliance.web.access.auth import RESPONDERS, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.alerts.actions import AlertActions
from appliance.web.alerts.labels import STATUSES, STEPS
from appliance.web.alerts.views.page_query import read_alert, read_alerts
from appliance.web.alerts.views.undo import of_many, written
from appliance.web.page import forms
from appliance.web.page.address import Address
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.formats import lasting
from appliance.web.page.forms import Fields
from appliance.web.page.paths import number_of_path, of_tenant
from appliance.web.page.renderer import PageRenderer, see_other

LENGTHS: Mapping[str, str] = {
    "3600": "1 hour",
    "14400": "4 hours",
    "28800": "8 hours",
    "86400": "24 hours",
    "259200": "3 days",
    "604800": "7 days",
}
"""How long a silence may be without naming its end: seconds and label."""
USUAL_LENGTH = "14400"
WORDS: Mapping[AlertStep, str] = {
    AlertStep.ACKNOWLEDGE: "acknowledged",
    AlertStep.UNACKNOWLEDGE: "unacknowledged",
    AlertStep.SILENCE: "silenced",
    AlertStep.UNSILENCE: "unsilenced",
    AlertStep.CLOSE: "closed",
}
"""The name of the toast of each step."""
AT_ONCE = (AlertStep.ACKNOWLEDGE, AlertStep.UNACKNOWLEDGE, AlertStep.UNSILENCE)
ASKING = (AlertStep.SILENCE, AlertStep.CLOSE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The alerts of a step: one by its address, or several by their boxes, and the list to return to."""

    ids: Sequence[int]
    what: str
    """Its title, or how many there are."""
    tenant_id: str | None
    action: str
    back: str


def blueprint(renderer: PageRenderer, actions: AlertActions, reopen_after: float) -> Blueprint:
    """Return the routes. ``reopen_after``: after how many seconds a closed alert may open anew."""
    routes = Blueprint("alert_steps", __name__)
    _add_at_once(routes, renderer, actions)
    _add_asking(routes, renderer, actions, reopen_after)
    _add_note(routes, renderer, actions)
    _add_bulk(routes, renderer, actions, reopen_after)
    return routes


def _add_at_once(routes: Blueprint, renderer: PageRenderer, actions: AlertActions) -> None:
    @routes.post("/alerts/<int:alert_id>/<any(acknowledge, unacknowledge, unsilence):step>")
    @allow(RESPONDERS)
    async def at_once(alert_id: int, step: str) -> Response:
        fields, asked = await forms.read(), AlertStep(step)
        tenant_id = await _tenant(renderer, alert_id)
        # A row's button is in the form of its list, whose other fields are not about this step.
        await actions.take(tenant_id, alert_id, AskedStep(asked))
        undone = {"undo": str(alert_id)} if asked is AlertStep.ACKNOWLEDGE else {}
        return see_other(str(_back(alert_id, tenant_id, fields).having(done=WORDS[asked], **undone)))


def _add_asking(routes: Blueprint, renderer: PageRenderer, actions: AlertActions, reopen_after: float) -> None:
    async def chosen_of(alert_id: int, step: AlertStep) -> Chosen:
        async with renderer.platform.access.reading() as connection:
            one = await read_alert(connection, number_of_path(alert_id, "alert"), tenants_shown())
        alert = one.alert
        fields = await forms.read() if request.method == "POST" else Fields({})
        back = _back(alert_id, alert.tenant_id, fields)
        action = of_tenant(f"/alerts/{alert_id}/{step.value}", viewer(), alert.tenant_id)
        return Chosen([], f"“{alert.summary}”", alert.tenant_id, action, str(back))

    @routes.get("/alerts/<int:alert_id>/<any(silence, close):step>")
    @allow(RESPONDERS)
    async def ask(alert_id: int, step: str) -> Response:
        asked = AlertStep(step)
        return await question(renderer, await chosen_of(alert_id, asked), asked, Fields({}), None, reopen_after)

    @routes.post("/alerts/<int:alert_id>/<any(silence, close):step>")
    @allow(RESPONDERS)
    async def answered(alert_id: int, step: str) -> Response:
        fields, asked = await forms.read(), AlertStep(step)
        chosen = await chosen_of(alert_id, asked)
        try:
            given = asked_of(asked, fields, renderer.platform.access.now(), viewer().zone)
            await actions.take(chosen.tenant_id or "", alert_id, given)
        except (Invalid, Conflict) as error:
            return await question(renderer, chosen, asked, fields, fault_of(error), reopen_after)
        return see_other(str(_back(alert_id, chosen.tenant_id, fields).having(done=WORDS[asked])))


def _add_note(routes: Blueprint, renderer: PageRenderer, actions: AlertActions) -> None:
    @routes.post("/alerts/<int:alert_id>/notes")
    @allow(RESPONDERS)
    async def note(alert_id: int) -> Response:
        fields = await forms.read()
        tenant_id = await _tenant(renderer, alert_id)
        await actions.note(tenant_id, alert_id, fields.text("note", most=MAX_NOTE, lines=True))
        return see_other(str(_back(alert_id, tenant_id, fields).having(done="noted")))


def _add_bulk(routes: Blueprint, renderer: PageRenderer, actions: AlertActions, reopen_after: float) -> None:
    @routes.post("/alerts/+bulk")
    @allow(RESPONDERS)
    async def bulk() -> Response:
        fields = await forms.read()
        step = fields.choice("step", AlertStep)
        if step not in WORDS:
            raise Invalid("This is no step of several alerts.", "step")
        ids = chosen_ids(fields)
        back, action = _list(fields), of_tenant("/alerts/+bulk", viewer(), tenants_shown())
        many = Chosen(ids, f"{len(ids):,} alert{'' if len(ids) == 1 else 's'}", tenants_shown(), action, str(back))
        if step in ASKING and not ({"reason", "note"} & set(fields.values)):
            return await question(renderer, many, step, Fields({"back": [back.query]}), None, reopen_after)
        try:
            given = asked_of(step, fields, renderer.platform.access.now(), viewer().zone)
            answers = await _take_many(renderer, actions, ids, given)
        except Invalid as error:
            return await question(renderer, many, step, fields, fault_of(error), reopen_after)
        skipped = [one for one in answers if one.outcome is not AlertOutcome.DONE]
        moved = [one.alert_id for one in answers if one.outcome is AlertOutcome.DONE]
        if not skipped:
            named = written(moved) if step is AlertStep.ACKNOWLEDGE else None
            return see_other(str(back.having(done=WORDS[step], many=len(answers), undo=named)))
        return await _skipped(renderer, step, skipped, moved, back)


async def _take_many(
    renderer: PageRenderer, actions: AlertActions, ids: Sequence[int], given: AskedStep
) -> list[AlertAnswer]:
    """Take a step with alerts of one tenant, or for an operator who views all tenants, with those of each."""
    async with renderer.platform.access.reading() as connection:
        found = await read_alerts(connection, ids, tenants_shown())
    of: dict[str, list[int]] = {}
    for one in found:
        of.setdefault(one.alert.tenant_id, []).append(one.alert.alert_id)
    answers = [answer for tenant_id, some in of.items() for answer in await actions.take_many(tenant_id, some, given)]
    there = {one.alert.alert_id for one in found}
    gone = [AlertAnswer(alert_id, AlertOutcome.NOT_FOUND, None) for alert_id in ids if alert_id not in there]
    return answers + gone


async def question(
    renderer: PageRenderer, chosen: Chosen, step: AlertStep, fields: Fields, fault: Fault | None, reopen_after: float
) -> Response:
    """Return the question before a silence or a close, with what was typed."""
    given = {name: fields.typed(name) for name in ("for", "until", "reason", "note")}
    given["for"] = given["for"] or USUAL_LENGTH
    return await renderer.page(
        f"alerts/{step.value}.html",
        status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        what=chosen.what,
        chosen=chosen.ids,
        action=chosen.action,
        back=chosen.back,
        kept=fields.typed("back") if "back" in fields else request.args.get("back"),
        given=given,
        fault=fault,
        most=MAX_NOTE,
        lengths=list(LENGTHS.items()),
        reopens=lasting(reopen_after),
    )


def asked_of(step: AlertStep, fields: Fields, now: datetime, zone: tzinfo | None) -> AskedStep:
    """Return the step that a form asks for. Raises Invalid, which names the field."""
    if step is AlertStep.SILENCE:
        return AskedStep(
            step, fields.needed("reason", "Say why, for those who look.", most=MAX_NOTE), _end(fields, now, zone)
        )
    if step is AlertStep.CLOSE:
        return AskedStep(step, fields.needed("note", "Say why, for the timeline.", most=MAX_NOTE))
    return AskedStep(step)


def chosen_ids(fields: Fields) -> list[int]:
    """Return the alerts whose boxes are ticked, each once. Raises Invalid if none is, or for what is no id."""
    texts = list(dict.fromkeys(fields.many("alert")))
    if not texts:
        raise Invalid("Choose at least one alert.", "alert")
    if not all(text.isdecimal() and text.isascii() and len(text) <= 19 for text in texts):
        raise Invalid("An alert is chosen by its number.", "alert")
    return [int(text) for text in texts]


def _end(fields: Fields, now: datetime, zone: tzinfo | None) -> datetime:
    """Return the end of a silence: a time on the viewer's clock, or so long from now."""
    text = fields.text("until", most=40)
    if text:
        try:
            wall = datetime.fromisoformat(text)
            return datetime.fromtimestamp(local_time.instant(wall.replace(tzinfo=None), zone), UTC)
        except (ValueError, OverflowError, OSError):
            raise Invalid("Write the end as 2026-11-23T16:00.", "until") from None
    length = fields.text("for", most=10) or USUAL_LENGTH
    if length not in LENGTHS:
        raise Invalid("Choose how long, or give an end.", "for")
    return now + timedelta(seconds=int(length))


async def _tenant(renderer: PageRenderer, alert_id: int) -> str:
    """Return whose alert it is, as far as the viewer may see. Raises NotFound."""
    async with renderer.platform.access.reading() as connection:
        one = await read_alert(connection, number_of_path(alert_id, "alert"), tenants_shown())
    return one.alert.tenant_id


def _back(alert_id: int, tenant_id: str | None, fields: Fields) -> Address:
    """Return where a step leads back to: the list as it was, or the page of the alert."""
    if "back" in fields or request.args.get("back") is not None:
        return _list(fields)
    return Address(f"/alerts/{alert_id}", (("tenant", tenant_id),) if viewer().is_operator and tenant_id else ())


def _list(fields: Fields) -> Address:
    query = fields.typed("back") if "back" in fields else request.args.get("back", "")
    try:
        return Address.of_query("/alerts", query)
    except ValueError:
        return Address("/alerts")


async def _skipped(
    renderer: PageRenderer, step: AlertStep, skipped: Sequence[AlertAnswer], moved: Sequence[int], back: Address
) -> Response:
    who = viewer()
    async with renderer.platform.access.reading() as connection:
        found = {
            one.alert.alert_id: one.alert
            for one in await read_alerts(connection, [one.alert_id for one in skipped], tenants_shown())
        }
    lines = []
    for one in skipped:
        alert = found.get(one.alert_id)
        title = f"Alert {one.alert_id}" if alert is None else alert.summary
        href = of_tenant(f"/alerts/{one.alert_id}", who, None if alert is None else alert.tenant_id)
        lines.append((href, title, why_skipped(step, one)))
    acknowledged = moved and step is AlertStep.ACKNOWLEDGE
    return await renderer.page(
        "alerts/done.html",
        step=STEPS[step],
        skipped=lines,
        changed=len(moved),
        back=back.having(),
        take_back=of_many(moved, who, tenants_shown(), back.query) if acknowledged else None,
    )


def why_skipped(step: AlertStep, answer: AlertAnswer) -> str:
    """Return in words why a step was not taken for one of many alerts."""
    if answer.status is None:
        return "There is no such alert any more."
    if answer.inhibited_by is not None:
        return f"Alert {answer.inhibited_by} stands for it: act on that one."
    if answer.outcome is AlertOutcome.UNCHANGED:
        return f"It was {STATUSES[answer.status].lower()} already."
    return f"It is {STATUSES[answer.status].lower()}: {REFUSALS[step]}."

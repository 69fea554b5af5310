"""``/customer/alerts``: list and show alerts; acknowledge, close, silence, write notes, delete; many at once."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.alerts.actions import BULK_STEPS, AskedStep
from appliance.alerts.lifecycle import AlertStep
from appliance.alerts.store import AlertPosition
from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, READERS, RESPONDERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.alerts import export
from appliance.web.alerts.actions import AlertActions
from appliance.web.alerts.query import AlertQuery, filter_of
from appliance.web.alerts.schemas import (
    AlertBulk,
    AlertBulkAnswer,
    AlertList,
    AlertNote,
    AlertSilence,
    AlertWhole,
    bulk_out,
    listed_out,
    whole_out,
)
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import number_of_path
from appliance.web.platform import Platform

IMPOSSIBLE = "When the alert's status does not allow it: 409, with `present_status`."


def blueprint(platform: Platform, actions: AlertActions) -> Blueprint:
    """Return the routes of alerts."""
    routes = Blueprint("api_alerts", __name__)
    _add_list(routes, platform, actions)
    _add_one(routes, actions)
    _add_acknowledgement(routes, actions)
    _add_end(routes, actions)
    _add_silence(routes, actions)
    _add_bulk(routes, actions)
    return routes


def _add_list(routes: Blueprint, platform: Platform, actions: AlertActions) -> None:
    @routes.get("/customer/alerts")
    @allow(READERS)
    @describe("List alerts", query=AlertQuery, answers={HTTPStatus.OK: AlertList}, csv=True)
    async def list_alerts() -> Response:
        asked = query(AlertQuery)
        wanted = filter_of(asked, tenants_shown(), viewer().zone)
        after = cursor.read(asked.cursor, AlertPosition)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), wanted, asked.sort)
        page = await actions.page(wanted, sort=asked.sort, limit=asked.limit, after=after)
        return answer(AlertList([listed_out(one) for one in page.alerts], cursor.write(page.next)))


def _add_one(routes: Blueprint, actions: AlertActions) -> None:
    @routes.get("/customer/alerts/<int:alert_id>")
    @allow(READERS)
    @describe("Show an alert with its timeline", answers={HTTPStatus.OK: AlertWhole})
    async def show(alert_id: int) -> Response:
        return answer(whole_out(await actions.show(tenant_of(), _id(alert_id))))

    @routes.patch("/customer/alerts/<int:alert_id>")
    @allow(RESPONDERS)
    @describe("Write a note into the timeline of an alert", body=AlertNote, answers={HTTPStatus.OK: AlertWhole})
    async def write_note(alert_id: int) -> Response:
        note = (await body(AlertNote)).note
        return answer(whole_out(await actions.note(tenant_of(), _id(alert_id), note)))

    @routes.delete("/customer/alerts/<int:alert_id>")
    @allow(ADMINS)
    @describe("Delete a closed alert with its timeline", details=IMPOSSIBLE, answers={HTTPStatus.NO_CONTENT: None})
    async def delete(alert_id: int) -> Response:
        await actions.delete(tenant_of(), _id(alert_id))
        return Response("", HTTPStatus.NO_CONTENT)


def _add_acknowledgement(routes: Blueprint, actions: AlertActions) -> None:
    @routes.post("/customer/alerts/<int:alert_id>/acknowledge")
    @allow(RESPONDERS)
    @describe("Acknowledge an open alert", details=IMPOSSIBLE, body=AlertNote, answers={HTTPStatus.OK: AlertWhole})
    async def acknowledge(alert_id: int) -> Response:
        return await _taken(actions, alert_id, AskedStep(AlertStep.ACKNOWLEDGE, (await body(AlertNote)).note))

    @routes.post("/customer/alerts/<int:alert_id>/unacknowledge")
    @allow(RESPONDERS)
    @describe(
        "Undo the acknowledgement of an alert", details=IMPOSSIBLE, body=AlertNote, answers={HTTPStatus.OK: AlertWhole}
    )
    async def unacknowledge(alert_id: int) -> Response:
        return await _taken(actions, alert_id, AskedStep(AlertStep.UNACKNOWLEDGE, (await body(AlertNote)).note))


def _add_end(routes: Blueprint, actions: AlertActions) -> None:
    @routes.post("/customer/alerts/<int:alert_id>/close")
    @allow(RESPONDERS)
    @describe(
        "Close an alert",
        details="The same opens anew only after its condition has ended, or after `alerts.reopen_after`. " + IMPOSSIBLE,
        body=AlertNote,
        answers={HTTPStatus.OK: AlertWhole},
    )
    async def close(alert_id: int) -> Response:
        return await _taken(actions, alert_id, AskedStep(AlertStep.CLOSE, (await body(AlertNote)).note))


def _add_silence(routes: Blueprint, actions: AlertActions) -> None:
    @routes.post("/customer/alerts/<int:alert_id>/silence")
    @allow(RESPONDERS)
    @describe(
        "Silence an alert until a time",
        details="It stays visible and nobody is notified. Again for another end. " + IMPOSSIBLE,
        body=AlertSilence,
        answers={HTTPStatus.OK: AlertWhole},
    )
    async def silence(alert_id: int) -> Response:
        return await _taken(actions, alert_id, (await body(AlertSilence)).step)

    @routes.post("/customer/alerts/<int:alert_id>/unsilence")
    @allow(RESPONDERS)
    @describe("End the silence of an alert", details=IMPOSSIBLE, body=AlertNote, answers={HTTPStatus.OK: AlertWhole})
    async def unsilence(alert_id: int) -> Response:
        return await _taken(actions, alert_id, AskedStep(AlertStep.UNSILENCE, (await body(AlertNote)).note))


def _add_bulk(routes: Blueprint, actions: AlertActions) -> None:
    @routes.post("/customer/alerts/bulk")
    @allow(RESPONDERS)
    @describe(
        "Acknowledge, close or silence many alerts, or undo that",
        details="One transaction, and an answer for each: `done`, `unchanged` where it was there already, `conflict`"
        " where its status does not allow it, `not_found`.",
        body=AlertBulk,
        answers={HTTPStatus.OK: AlertBulkAnswer},
    )
    async def bulk() -> Response:
        wanted = await body(AlertBulk)
        answers = await actions.take_many(tenant_of(), wanted.alert_ids, asked_step(wanted))
        return answer(bulk_out(answers))


def asked_step(wanted: AlertBulk) -> AskedStep:
    """Return the step that is asked for. Raises Invalid, naming ``action`` or what does not go with it."""
    if wanted.action not in BULK_STEPS:
        raise Invalid(f"`action` is one of {', '.join(sorted(BULK_STEPS))}.", "action")
    step = AlertStep(wanted.action)
    if step is AlertStep.SILENCE:
        return AskedStep(step, wanted.reason or wanted.note, wanted.until)
    if wanted.until is not None:
        raise Invalid("`until` goes with the action silence.", "until")
    return AskedStep(step, wanted.note or wanted.reason)


async def _taken(actions: AlertActions, alert_id: int, asked: AskedStep) -> Response:
    return answer(whole_out(await actions.take(tenant_of(), _id(alert_id), asked)))


def _id(alert_id: int) -> int:
    return number_of_path(alert_id, "alert")

"""The renewal of a subscription on pages: form, review, confirmation, and the result with the offer to replay.

Each step works without script: its buttons send the whole form, and the server answers with the next page. Confirming
sends the key that was made with the form and the version that was reviewed, so that pressing twice renews once, and
what has changed meanwhile is shown instead of done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import trio
from quart import Blueprint, Response, request

from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.seats import changes as seats
from appliance.errors import Conflict, Invalid, KeyReused
from appliance.ingest.quarantine import store as quarantine
from appliance.ingest.quarantine.replay_preview import Offer, ReplayPreviewer
from appliance.renewals import requests
from appliance.renewals.plan import Plan, Refusal
from appliance.renewals.renewal import DevicesNeeded, StalePreview
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType, usable
from appliance.subscriptions.terms import last_full_day
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields
from appliance.web.page.paths import number_of_path, of_tenant
from appliance.web.page.renderer import see_other
from appliance.web.subscriptions import labels
from appliance.web.subscriptions.list_views import SubscriptionPages
from appliance.web.subscriptions.listing import LAPSED, PATH, facts_of
from appliance.web.subscriptions.renewal_actions import RenewalActions
from appliance.web.subscriptions.renewal_draft import MOST_ADDRESS, Draft, Step, draft_of, fields_of, fresh
from appliance.web.subscriptions.renewal_form import FIELDS, FormReader

SHOWN_STOPPING = 20
"""Devices that stop which a review and a result name; more are counted."""
STALE = "What a renewal would do has changed since you looked. Check what would happen now and confirm again."
REUSED = "This form was used for another renewal. Check what would happen now and confirm again."
OFFER_PATIENCE = 1.5
"""Seconds that a result waits for what can be replayed: a renewal reaches ingest within one."""
OFFER_PAUSE = 0.2
"""Seconds between two looks at it."""


@dataclass(frozen=True, slots=True)
class RenewalPages:
    """Renders the steps."""

    pages: SubscriptionPages
    actions: RenewalActions
    previewer: ReplayPreviewer

    async def start(self, subscription_id: str) -> FormReader:
        """Return how the form of the subscription in the path is read. Raises NotFound."""
        platform = self.pages.renderer.platform
        access = platform.access
        async with access.reading() as connection:
            row, owned = await self.pages.owned(connection, subscription_id)
            zone = (await facts_of(connection, [row.tenant_id]))[row.tenant_id].zone
        return FormReader(row, owned, zone, access.now(), access.settled(), platform.renewals)

    async def form(
        self,
        reader: FormReader,
        draft: Draft,
        *,
        given: Mapping[str, str] | None = None,
        fault: Fault | None = None,
        note: str = "",
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        """Return the page with the form."""
        renderer, who, row = self.pages.renderer, viewer(), reader.row
        async with renderer.platform.access.reading() as connection:
            shown = await reader.form(connection, draft, given, fault)
        parent = next((one for one in reader.owned if one.subscription_id == row.parent_subscription_id), None)
        main = next((one for one in reader.owned if one.subscription_type is SubscriptionType.MAIN), None)
        instead = parent or (main if shown.blocked else None)
        return await renderer.page(
            "subscriptions/renew.html",
            status=status,
            form=shown,
            note=note,
            trusted=renderer.platform.clock.trusted,
            action=_at(row, "/renew"),
            back=_at(row),
            crumbs=of_tenant(PATH, who, row.tenant_id),
            instead=None if instead is None else (labels.subscription_title(instead), _at(instead)),
        )

    async def review(
        self, reader: FormReader, draft: Draft, *, note: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        """Return the page that shows all that would happen; the form, where something is missing."""
        renderer, row = self.pages.renderer, reader.row
        previewed = await self.actions.preview(row.tenant_id, draft.request(row))
        planned = previewed.outcome
        if isinstance(planned, Refusal):
            fault = (planned.field or "", planned.message) if planned.needed is None else None
            text = planned.message if planned.needed is not None and draft.chosen else note
            return await self.form(reader, draft, fault=fault, note=text, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if not isinstance(planned, Plan):
            return await self.form(reader, draft, note=note, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        async with renderer.platform.access.reading() as connection:
            repeated = not draft.again and await reader.repeats(connection, draft)
            stopping = await _stopping(connection, row, draft.chosen)
        if repeated:
            return await self.form(reader, draft, note=note, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        return await renderer.page(
            "subscriptions/review.html",
            status=status,
            label=labels.subscription_label(row, reader.settled, reader.zone, reader.policy),
            draft=draft,
            plan=planned,
            first_day=planned.start.astimezone(reader.zone).date(),
            version=previewed.version,
            stopping=stopping,
            more=max(0, len(draft.chosen) - SHOWN_STOPPING),
            addons=[labels.subscription_title(before) for before, _ in planned.addons],
            becomes_main=planned.before.subscription_type is not planned.after.subscription_type,
            note=note,
            trusted=renderer.platform.clock.trusted,
            action=_at(row, "/renew"),
            back=_at(row),
            crumbs=of_tenant(PATH, viewer(), row.tenant_id),
        )


def blueprint(pages: RenewalPages) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("renewal", __name__)
    _add_form(routes, pages)
    _add_result(routes, pages)
    return routes


def _add_form(routes: Blueprint, pages: RenewalPages) -> None:
    @routes.get(f"{PATH}/<subscription_id>/renew")
    @allow(ADMINS)
    async def show(subscription_id: str) -> Response:
        reader = await pages.start(subscription_id)
        fields = fields_of(request.args)
        try:
            draft = draft_of(fields, reader.row) if "term_days" in fields else fresh(reader.row)
        except Invalid:  # somebody else's address
            draft = fresh(reader.row)
        if request.args.get("step") != Step.REVIEW:
            return await pages.form(reader, draft)
        return await _done(pages, reader, draft) or await pages.review(reader, draft)

    @routes.post(f"{PATH}/<subscription_id>/renew")
    @allow(ADMINS)
    async def send(subscription_id: str) -> Response:
        reader = await pages.start(subscription_id)
        fields = await forms.read()
        step = fields.choice("step", Step, Step.REVIEW)
        try:
            draft = draft_of(fields, reader.row)
        except Invalid as error:
            given = {name: fields.typed(name) for name in FIELDS}
            status = HTTPStatus.OK if step is Step.FIND else HTTPStatus.UNPROCESSABLE_ENTITY
            return await pages.form(
                reader, _repaired(fields, reader.row), given=given, fault=fault_of(error), status=status
            )
        match step:
            case Step.CONFIRM:
                return await _confirm(pages, reader, draft, fields.text("seen", most=64))
            case Step.REVIEW:
                return await _to_review(pages, reader, draft)
            case Step.LONGEST:
                async with pages.pages.renderer.platform.access.reading() as connection:
                    draft = await reader.longest_silent(connection, draft)
        return await pages.form(reader, draft)


async def _to_review(pages: RenewalPages, reader: FormReader, draft: Draft) -> Response:
    """Go to the review, which has an address of its own if that is not too long; or stay where something is missing."""
    outcome = reader.outcome(draft)
    if isinstance(outcome, Plan) and not outcome.excess:
        draft = draft.having(())  # chosen before more seats were asked for
    row = reader.row
    more = {"tenant": row.tenant_id} if viewer().is_operator else {}
    address = draft.address(f"{PATH}/{row.subscription_id}/renew", Step.REVIEW, **more)
    ready = isinstance(outcome, Plan) and len(draft.chosen) == outcome.excess
    if ready and len(address) <= MOST_ADDRESS:
        return see_other(address)
    return await pages.review(reader, draft)


async def _confirm(pages: RenewalPages, reader: FormReader, draft: Draft, seen: str) -> Response:
    row, status = reader.row, HTTPStatus.CONFLICT
    try:
        outcome = await pages.actions.renew(row.tenant_id, draft.request(row), key=draft.key, seen=seen)
    except StalePreview:
        return await pages.review(reader, draft, note=STALE, status=status)
    except KeyReused:
        return await pages.review(reader, draft.renewed_key(), note=REUSED, status=status)
    except DevicesNeeded as error:
        return await pages.form(reader, draft, note=str(error), status=status)
    except Conflict as error:
        return await pages.form(reader, draft, note=str(error), status=status)
    except Invalid as error:
        return await pages.form(reader, draft, fault=fault_of(error), status=HTTPStatus.UNPROCESSABLE_ENTITY)
    number = outcome.renewed.request_id
    if number is None:
        return await pages.form(reader, draft, note=outcome.renewed.answer.hint or "", status=status)
    more = {"pending": "1"} if outcome.sync_status is SyncStatus.PENDING else {}
    return see_other(_at(row, f"/renewed/{number}", **more))


async def _done(pages: RenewalPages, reader: FormReader, draft: Draft) -> Response | None:
    """Return the page of a review whose renewal is done: whoever comes back to it renews nothing."""
    renderer, row = pages.pages.renderer, reader.row
    access = renderer.platform.access
    async with access.reading() as connection:
        try:
            kept = await requests.find(connection, row.tenant_id, draft.key, draft.request(row), now=access.now())
        except KeyReused:
            return await pages.form(reader, draft.renewed_key(), note=REUSED)
    if kept is None:
        return None
    return await renderer.page(
        "subscriptions/renewal-done.html",
        label=labels.subscription_label(row, reader.settled, reader.zone, reader.policy),
        result=_at(row, f"/renewed/{kept.request_id}"),
        again=_at(row, "/renew"),
        back=_at(row),
        crumbs=of_tenant(PATH, viewer(), row.tenant_id),
    )


def _add_result(routes: Blueprint, pages: RenewalPages) -> None:
    renderer = pages.pages.renderer

    @routes.get(f"{PATH}/<subscription_id>/renewed/<int:request_id>")
    @allow(ADMINS)
    async def result(subscription_id: str, request_id: int) -> Response:
        reader = await pages.start(subscription_id)
        row = reader.row
        answer = await pages.actions.answer_of(
            row.tenant_id, row.subscription_id, number_of_path(request_id, "renewal")
        )
        return await renderer.page(
            "subscriptions/renewed.html",
            label=labels.subscription_label(row, reader.settled, reader.zone, reader.policy),
            answer=answer,
            last_day_before=last_full_day(answer.previous_term_end, reader.zone),
            last_day_after=last_full_day(answer.new_term_end, reader.zone),
            stopped=answer.devices_deactivated[:SHOWN_STOPPING],
            more=max(0, len(answer.devices_deactivated) - SHOWN_STOPPING),
            pending="pending" in request.args,
            offers=await _offers(pages, row),
            back=_at(row),
            crumbs=of_tenant(PATH, viewer(), row.tenant_id),
        )


async def _offers(pages: RenewalPages, row: Subscription) -> list[Offer]:
    """Return what can be replayed by now. Right after a renewal, wait until it has reached ingest."""
    if not usable(row.status):
        return []
    async with pages.pages.renderer.platform.access.reading() as connection:
        held = await quarantine.held_by_reason(connection, row.tenant_id)
    waits = any(one.held for one in held if one.reason in LAPSED)
    offers: list[Offer] = []
    with trio.move_on_after(OFFER_PATIENCE):
        while True:
            offers = await pages.previewer.offers(row.tenant_id)
            if not waits or any(one.reason in LAPSED for one in offers):
                break
            await trio.sleep(OFFER_PAUSE)
    return offers


async def _stopping(
    connection: Connection[Any], row: Subscription, chosen: tuple[str, ...]
) -> list[tuple[str, str | None]]:
    """Return the first of the devices that stop, each with its name."""
    first = chosen[:SHOWN_STOPPING]
    known = await seats.select_devices(connection, row.tenant_id, first)
    return [(one, known[one].name if one in known else None) for one in first]


def _repaired(fields: Fields, row: Subscription) -> Draft:
    """Return a draft in which what is in error is as at the start."""
    draft = fresh(row)
    for name in (*FIELDS, "again", "chosen", "key"):
        kept = {one: fields.values[one] for one in (*FIELDS, "again", "chosen", "shown", "device", "key")
                if one in fields.values and one != name}  # fmt: skip
        try:
            return draft_of(Fields(kept), row)
        except Invalid:
            continue
    return draft


def _at(row: Subscription, part: str = "", **query: str) -> str:
    return of_tenant(f"{PATH}/{row.subscription_id}{part}", viewer(), row.tenant_id, **query)

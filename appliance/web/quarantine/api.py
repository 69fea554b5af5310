"""``/customer/quarantine``: messages that were not accepted - listed, looked at, replayed, dismissed."""

from http import HTTPStatus

from quart import Blueprint, Response

from appliance.clock import Clock
from appliance.errors import Invalid
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import Selection
from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.access.transactions import tenant_of
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import number_of_path
from appliance.web.platform import Platform
from appliance.web.quarantine import export
from appliance.web.quarantine.actions import QuarantineActions, QuarantineFilter
from appliance.web.quarantine.schemas import (
    BrokerRefusalAnswer,
    BrokerRefusalQuery,
    CausesAnswer,
    DismissAnswer,
    ForecastAnswer,
    MessageAnswer,
    MessageId,
    MessagePage,
    MessageQuery,
    MessageSelection,
    OfferAnswer,
    ReplayAnswer,
    ReplayQuery,
    broker_refusal_answer,
    cause_of,
    holding_of,
    listed,
    offered,
    preview_answer,
    replaying,
    whole,
)


def blueprint(platform: Platform, actions: QuarantineActions) -> Blueprint:
    """The routes."""
    routes = Blueprint("api_quarantine", __name__)
    _looking(routes, actions, platform.clock)
    _deciding(routes, actions)
    _replays(routes, actions)
    return routes


def _looking(routes: Blueprint, actions: QuarantineActions, clock: Clock) -> None:
    @routes.get("/customer/quarantine")
    @allow(READERS)
    @describe("List quarantined messages", query=MessageQuery, answers={HTTPStatus.OK: MessagePage}, csv=True)
    async def list_messages() -> Response:
        asked = query(MessageQuery)
        before = cursor.read(asked.cursor, MessageId)
        selection = actions.selection(asked)
        if csv_export.asked_for():
            return export.answer(actions.export(selection, asked.status.status), clock.wall())
        events, behind = await actions.messages(selection, status=asked.status.status, before=before, limit=asked.limit)
        return answer(MessagePage([listed(event) for event in events], cursor.write(behind)))

    @routes.get("/customer/quarantine/<int:message_id>")
    @allow(READERS)
    @describe(
        "Show a message with its payload",
        details="The value of a `provision_token` is blackened.",
        answers={HTTPStatus.OK: MessageAnswer},
    )
    async def show(message_id: int) -> Response:
        return answer(whole(await actions.message(number_of_path(message_id, "quarantined message"))))

    @routes.get("/customer/quarantine/causes")
    @allow(READERS)
    @describe("Count by reason, and say how far back holding reaches", answers={HTTPStatus.OK: CausesAnswer})
    async def causes() -> Response:
        counted, reach = await actions.causes(actions.selection(QuarantineFilter()))
        return answer(CausesAnswer([cause_of(cause) for cause in counted], holding_of(reach)))

    @routes.get("/customer/quarantine/offers")
    @allow(READERS)
    @describe("Held messages that could be replayed by now", answers={HTTPStatus.OK: list[OfferAnswer]})
    async def offers() -> Response:
        return answer([offered(one) for one in await actions.offers()])

    @routes.get("/customer/quarantine/door")
    @allow(READERS)
    @describe(
        "What the broker refused lately", query=BrokerRefusalQuery, answers={HTTPStatus.OK: list[BrokerRefusalAnswer]}
    )
    async def door() -> Response:
        return answer([broker_refusal_answer(one) for one in actions.door(query(BrokerRefusalQuery).device)])


def _deciding(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.post("/customer/quarantine/replay")
    @allow(ADMINS)
    @describe(
        "Replay held messages",
        details="With `dry_run` only the forecast is answered. Without reasons and ids: all that are held for replay.",
        query=ReplayQuery,
        body=MessageSelection,
        answers={HTTPStatus.ACCEPTED: ReplayAnswer, HTTPStatus.OK: ForecastAnswer},
    )
    async def replay() -> Response:
        selection = await _chosen(actions, await body(MessageSelection))
        if query(ReplayQuery).dry_run:
            return answer(preview_answer(await actions.forecast(selection)))
        (job,) = await actions.replay([selection])
        return _job(job, HTTPStatus.ACCEPTED)

    @routes.post("/customer/quarantine/dismiss")
    @allow(ADMINS)
    @describe(
        "Dismiss held messages",
        details="They can be looked at until they are too old. At least one of the fields must narrow the selection.",
        body=MessageSelection,
        answers={HTTPStatus.OK: DismissAnswer},
    )
    async def dismiss() -> Response:
        wanted = await body(MessageSelection)
        if wanted == MessageSelection(unknown_tenant=wanted.unknown_tenant):
            raise Invalid("Say which: by id, reason, device, site or time.")
        return answer(DismissAnswer(await actions.dismiss([await _chosen(actions, wanted)])))


def _replays(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.get("/customer/quarantine/replays")
    @allow(READERS)
    @describe("List replays, newest first", answers={HTTPStatus.OK: list[ReplayAnswer]})
    async def list_replays() -> Response:
        return answer([replaying(job) for job in await actions.jobs(50)])

    @routes.get("/customer/quarantine/replays/<int:replay_id>")
    @allow(READERS)
    @describe("Show a replay and how far it has come", answers={HTTPStatus.OK: ReplayAnswer})
    async def show_replay(replay_id: int) -> Response:
        return _job(await actions.job(number_of_path(replay_id, "replay")))

    @routes.post("/customer/quarantine/replays/<int:replay_id>/cancel")
    @allow(ADMINS)
    @describe("Stop a replay where it stands", answers={HTTPStatus.OK: ReplayAnswer})
    async def cancel(replay_id: int) -> Response:
        return _job(await actions.cancel(number_of_path(replay_id, "replay")))


async def _chosen(actions: QuarantineActions, wanted: MessageSelection) -> Selection:
    """Of one tenant, also for operators. Raises Invalid without."""
    if not wanted.unknown_tenant:
        tenant_of()
    (selection,) = await actions.chosen(wanted.filter, wanted.ids)
    return selection


def _job(job: Replay, status: HTTPStatus = HTTPStatus.OK) -> Response:
    where = {"Location": f"/customer/quarantine/replays/{job.replay_id}"}
    return answer(replaying(job), status, where if status is HTTPStatus.ACCEPTED else None)

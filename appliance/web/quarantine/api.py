"""``/customer/quarantine``: list, show, replay and dismiss messages that were not accepted."""

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
    MessageAnswer,
    MessageId,
    MessagePage,
    MessageQuery,
    MessageSelection,
    OfferAnswer,
    ReplayAnswer,
    ReplayPreviewAnswer,
    ReplayQuery,
    broker_refusal_answer,
    cause_of,
    listed,
    offered,
    preview_answer,
    reach_answer,
    replay_answer,
    whole,
)


def blueprint(platform: Platform, actions: QuarantineActions) -> Blueprint:
    """Return the routes of the quarantine."""
    routes = Blueprint("api_quarantine", __name__)
    _add_list(routes, actions, platform.clock)
    _add_show(routes, actions)
    _add_counts(routes, actions)
    _add_decisions(routes, actions)
    _add_replays(routes, actions)
    return routes


def _add_list(routes: Blueprint, actions: QuarantineActions, clock: Clock) -> None:
    @routes.get("/customer/quarantine")
    @allow(READERS)
    @describe("List quarantined messages", query=MessageQuery, answers={HTTPStatus.OK: MessagePage}, csv=True)
    async def list_messages() -> Response:
        asked = query(MessageQuery)
        before = cursor.read(asked.cursor, MessageId)
        selection = actions.selection(asked)
        if csv_export.asked_for():
            return export.answer(actions.export(selection, asked.status.status), clock.now())
        events, behind = await actions.messages(selection, status=asked.status.status, before=before, limit=asked.limit)
        return answer(MessagePage([listed(event) for event in events], cursor.write(behind)))


def _add_show(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.get("/customer/quarantine/<int:message_id>")
    @allow(READERS)
    @describe(
        "Show a message with its payload",
        details="The value of a `provision_token` is replaced by asterisks.",
        answers={HTTPStatus.OK: MessageAnswer},
    )
    async def show(message_id: int) -> Response:
        return answer(whole(await actions.message(number_of_path(message_id, "quarantined message"))))


def _add_counts(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.get("/customer/quarantine/causes")
    @allow(READERS)
    @describe(
        "Count by reason, and show how far back held messages are complete", answers={HTTPStatus.OK: CausesAnswer}
    )
    async def causes() -> Response:
        counted, reach = await actions.causes(actions.selection(QuarantineFilter()))
        return answer(CausesAnswer([cause_of(cause) for cause in counted], reach_answer(reach)))

    @routes.get("/customer/quarantine/offers")
    @allow(READERS)
    @describe("List held messages that could be stored by now", answers={HTTPStatus.OK: list[OfferAnswer]})
    async def offers() -> Response:
        return answer([offered(one) for one in await actions.offers()])

    @routes.get("/customer/quarantine/door", endpoint="door")
    @allow(READERS)
    @describe(
        "List what the broker refused lately",
        query=BrokerRefusalQuery,
        answers={HTTPStatus.OK: list[BrokerRefusalAnswer]},
    )
    async def broker_refusals() -> Response:
        return answer([broker_refusal_answer(one) for one in actions.broker_refusals(query(BrokerRefusalQuery).device)])


def _add_decisions(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.post("/customer/quarantine/replay")
    @allow(ADMINS)
    @describe(
        "Replay held messages",
        details="With `dry_run` the answer is only a preview. Without reasons and ids: all messages held for replay.",
        query=ReplayQuery,
        body=MessageSelection,
        answers={HTTPStatus.ACCEPTED: ReplayAnswer, HTTPStatus.OK: ReplayPreviewAnswer},
    )
    async def replay() -> Response:
        selection = await _chosen(actions, await body(MessageSelection))
        if query(ReplayQuery).dry_run:
            return answer(preview_answer(await actions.preview(selection)))
        (job,) = await actions.replay([selection])
        return _job(job, HTTPStatus.ACCEPTED)

    @routes.post("/customer/quarantine/dismiss")
    @allow(ADMINS)
    @describe(
        "Dismiss held messages",
        details="They can be viewed until they expire. At least one field must narrow the selection.",
        body=MessageSelection,
        answers={HTTPStatus.OK: DismissAnswer},
    )
    async def dismiss() -> Response:
        wanted = await body(MessageSelection)
        if wanted == MessageSelection(unknown_tenant=wanted.unknown_tenant):
            raise Invalid("Give ids, a reason, a device, a site or a time.")
        return answer(DismissAnswer(await actions.dismiss([await _chosen(actions, wanted)])))


def _add_replays(routes: Blueprint, actions: QuarantineActions) -> None:
    @routes.get("/customer/quarantine/replays")
    @allow(READERS)
    @describe("List replays, newest first", answers={HTTPStatus.OK: list[ReplayAnswer]})
    async def list_replays() -> Response:
        return answer([replay_answer(job) for job in await actions.jobs(50)])

    @routes.get("/customer/quarantine/replays/<int:replay_id>")
    @allow(READERS)
    @describe("Show a replay and its progress", answers={HTTPStatus.OK: ReplayAnswer})
    async def show_replay(replay_id: int) -> Response:
        return _job(await actions.job(number_of_path(replay_id, "replay")))

    @routes.post("/customer/quarantine/replays/<int:replay_id>/cancel")
    @allow(ADMINS)
    @describe("Cancel a replay", answers={HTTPStatus.OK: ReplayAnswer})
    async def cancel(replay_id: int) -> Response:
        return _job(await actions.cancel(number_of_path(replay_id, "replay")))


async def _chosen(actions: QuarantineActions, wanted: MessageSelection) -> Selection:
    """Return the selection, of one tenant also for operators. Raises Invalid without a tenant."""
    if not wanted.unknown_tenant:
        tenant_of()
    (selection,) = await actions.chosen(wanted.filter, wanted.ids)
    return selection


def _job(job: Replay, status: HTTPStatus = HTTPStatus.OK) -> Response:
    where = {"Location": f"/customer/quarantine/replays/{job.replay_id}"}
    return answer(replay_answer(job), status, where if status is HTTPStatus.ACCEPTED else None)

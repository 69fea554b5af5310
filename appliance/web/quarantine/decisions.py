"""The decisions on quarantined messages: replay after a preview, dismiss after a question; and the progress of replays.

The question is a page of its own, whose address names the messages; sending its form carries it out. A replay is a
job: it continues when the page is left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint, Response, request

from appliance.db.require import require, require_rows
from appliance.errors import Conflict
from appliance.ingest.quarantine.replay_preview import ReplayPreview
from appliance.ingest.quarantine.store import OPERATOR, Selection
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.openapi.describe import parse_query
from appliance.web.page import forms
from appliance.web.page.address import Address
from appliance.web.page.labels import REASONS
from appliance.web.page.paths import number_of_path
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.quarantine.actions import QuarantineActions, QuarantineFilter
from appliance.web.quarantine.live import titles
from appliance.web.quarantine.schemas import MessageId
from appliance.web.quarantine.views import PAGE

TYPED_FROM = 50
"""Messages from which on a dismissal requires their number to be typed."""


class SelectedMessages(QuarantineFilter, frozen=True, kw_only=True):
    """The query of a question: single messages, or all that match."""

    id: tuple[MessageId, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayQuestion:
    """The preview of a replay, with the labels of its reasons."""

    selected: int
    examined: int
    passing: int
    staying: list[tuple[str, str, int]]
    """For each reason: its title, its advice, and the number of messages that would stay held."""
    new_devices: int


def blueprint(renderer: PageRenderer, actions: QuarantineActions) -> Blueprint:
    """Return the routes of decisions and of replays."""
    routes = Blueprint("quarantine_decisions", __name__)
    _add_replay(routes, renderer, actions)
    _add_dismiss(routes, renderer, actions)
    _add_jobs(routes, renderer, actions)
    return routes


def _add_replay(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    @routes.get("/quarantine/replay")
    @allow(ADMINS)
    async def ask_replay() -> Response:
        selections = await _chosen(actions)
        question = replay_question([await actions.preview(selection) for selection in selections])
        require(question.selected or None, "held message that matches")
        return await renderer.page(
            "quarantine/replay-preview.html", question=question, back=_back(), whose=_whose(selections)
        )

    @routes.post("/quarantine/replay")
    @allow(ADMINS)
    async def replay() -> Response:
        jobs = await actions.replay(await _chosen(actions))
        return see_other(f"/quarantine/replays/{jobs[0].replay_id}" if len(jobs) == 1 else "/quarantine/replays")


def _add_dismiss(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    async def question(total: int, selections: Sequence[Selection], fault: tuple[str, str] | None = None) -> Response:
        return await renderer.page(
            "quarantine/dismiss.html",
            status=HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            total=total,
            typed=str(total) if total >= TYPED_FROM else None,
            fault=fault,
            back=_back(),
            whose=_whose(selections),
        )

    async def measured(selections: Sequence[Selection]) -> int:
        total = sum([await actions.measure(selection) for selection in selections])
        return require_rows(total, "held message that matches")

    @routes.get("/quarantine/dismiss")
    @allow(ADMINS)
    async def ask_dismiss() -> Response:
        selections = await _chosen(actions)
        return await question(await measured(selections), selections)

    @routes.post("/quarantine/dismiss")
    @allow(ADMINS)
    async def dismiss() -> Response:
        selections = await _chosen(actions)
        total = await measured(selections)
        typed = (await forms.read()).text("typed")
        if total >= TYPED_FROM and typed != str(total):
            return await question(total, selections, ("typed", f"Type {total} to confirm: {total} messages match now."))
        await actions.dismiss(selections)
        return see_other(str(_back().having(done="dismissed")))


def _add_jobs(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    @routes.get("/quarantine/replays")
    @allow(READERS)
    async def replays() -> Response:
        return await renderer.page(
            "quarantine/replays.html", live_page=PAGE, jobs=await actions.jobs(50), may_decide=_may_decide()
        )

    @routes.get("/quarantine/replays/<int:replay_id>")
    @allow(READERS)
    async def replay_page(replay_id: int) -> Response:
        job = await actions.job(number_of_path(replay_id, "replay"))
        return await renderer.page(
            "quarantine/replay.html", live_page=PAGE, job=job, titles=titles(job), may_decide=_may_decide()
        )

    @routes.post("/quarantine/replays/<int:replay_id>/cancel")
    @allow(ADMINS)
    async def cancel(replay_id: int) -> Response:
        try:
            job = await actions.cancel(number_of_path(replay_id, "replay"))
        except Conflict:  # the replay has just ended, which its page shows
            job = await actions.job(replay_id)
        return see_other(f"/quarantine/replays/{job.replay_id}")


def replay_question(previews: Sequence[ReplayPreview]) -> ReplayQuestion:
    """Return the previews of several tenants as one question."""
    refused: Counter[str] = Counter()
    labels = {}
    for preview in previews:
        for reason, count in preview.refused.items():
            refused[reason] += count
            labels[reason.value] = REASONS[reason]
    return ReplayQuestion(
        selected=sum(preview.selected for preview in previews),
        examined=sum(preview.examined for preview in previews),
        passing=sum(preview.passing for preview in previews),
        staying=[(labels[reason].title, labels[reason].advice, count) for reason, count in refused.most_common()],
        new_devices=sum(preview.new_devices for preview in previews),
    )


async def _chosen(actions: QuarantineActions) -> list[Selection]:
    choice = parse_query(request.args, SelectedMessages)
    return await actions.chosen(choice, choice.id)


def _back() -> Address:
    """Return the address of the list from which the question was opened, with its filter."""
    return Address.of_request().at("/quarantine").having(id=None)


def _whose(selections: Sequence[Selection]) -> str:
    """Return the tenants of the selections in one phrase, for operators; empty for others."""
    if not viewer().is_operator:
        return ""
    names = [selection.tenant_id for selection in selections if selection.tenant_id not in (None, OPERATOR)]
    nobodys = ["no known tenant"] if any(selection.tenant_id == OPERATOR for selection in selections) else []
    return " and ".join([*map(str, names), *nobodys])


def _may_decide() -> bool:
    return viewer().role in ADMINS

"""What is decided on quarantined messages: replayed after a forecast, dismissed after a question; and the progress.

The question is a page of its own, whose address names the messages; sending its form does what it says. A replay is a
job: it goes on when the page is left.
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
"""Messages from which on a dismissal asks for their number to be typed."""


class SelectedMessages(QuarantineFilter, frozen=True, kw_only=True):
    """What the address of a question names: single messages, or all that match."""

    id: tuple[MessageId, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayQuestion:
    """A forecast in words."""

    selected: int
    examined: int
    passing: int
    staying: list[tuple[str, str, int]]
    """Of each reason: its title, what to do, and how many would stay held."""
    new_devices: int


def blueprint(renderer: PageRenderer, actions: QuarantineActions) -> Blueprint:
    """The routes."""
    routes = Blueprint("quarantine_decisions", __name__)
    _replay(routes, renderer, actions)
    _dismiss(routes, renderer, actions)
    _jobs(routes, renderer, actions)
    return routes


def _replay(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
    @routes.get("/quarantine/replay")
    @allow(ADMINS)
    async def ask_replay() -> Response:
        selections = await _chosen(actions)
        foretold = summed([await actions.forecast(selection) for selection in selections])
        require(foretold.selected or None, "held message that matches")
        return await renderer.page(
            "quarantine/replay-preview.html", foretold=foretold, back=_back(), whose=_whose(selections)
        )

    @routes.post("/quarantine/replay")
    @allow(ADMINS)
    async def replay() -> Response:
        jobs = await actions.replay(await _chosen(actions))
        return see_other(f"/quarantine/replays/{jobs[0].replay_id}" if len(jobs) == 1 else "/quarantine/replays")


def _dismiss(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
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
            return await question(total, selections, ("typed", f"Type {total}: by now so many messages match."))
        await actions.dismiss(selections)
        return see_other(str(_back().having(done="dismissed")))


def _jobs(routes: Blueprint, renderer: PageRenderer, actions: QuarantineActions) -> None:
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
        except Conflict:  # it has just ended, which its page says
            job = await actions.job(replay_id)
        return see_other(f"/quarantine/replays/{job.replay_id}")


def summed(forecasts: Sequence[ReplayPreview]) -> ReplayQuestion:
    """Forecasts of several tenants as one, in words."""
    refused: Counter[str] = Counter()
    words = {}
    for forecast in forecasts:
        for reason, count in forecast.refused.items():
            refused[reason] += count
            words[reason.value] = REASONS[reason]
    return ReplayQuestion(
        selected=sum(forecast.selected for forecast in forecasts),
        examined=sum(forecast.examined for forecast in forecasts),
        passing=sum(forecast.passing for forecast in forecasts),
        staying=[(words[reason].title, words[reason].advice, count) for reason, count in refused.most_common()],
        new_devices=sum(forecast.new_devices for forecast in forecasts),
    )


async def _chosen(actions: QuarantineActions) -> list[Selection]:
    choice = parse_query(request.args, SelectedMessages)
    return await actions.chosen(choice, choice.id)


def _back() -> Address:
    """The list from which the question was asked, with its filter."""
    return Address.of_request().at("/quarantine").having(id=None)


def _whose(selections: Sequence[Selection]) -> str:
    """For operators: the tenants in one phrase."""
    if not viewer().is_operator:
        return ""
    names = [selection.tenant_id for selection in selections if selection.tenant_id not in (None, OPERATOR)]
    nobodys = ["no known tenant"] if any(selection.tenant_id == OPERATOR for selection in selections) else []
    return " and ".join([*map(str, names), *nobodys])


def _may_decide() -> bool:
    return viewer().role in ADMINS

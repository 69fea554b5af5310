"""The rows of the list of integrations, and what stands beside it: the tabs and the answer to a sample."""

from dataclasses import dataclass

from appliance.delivery.integrations import counts, store
from appliance.delivery.integrations.counts import NONE, DeliveryCounts
from appliance.delivery.integrations.store import IntegrationFilter, KnownIntegration
from appliance.delivery.senders.sender import Sender, Verdict
from appliance.web.access.auth import Viewer, viewer
from appliance.web.deliveries.page_query import usual_total
from appliance.web.integrations import labels
from appliance.web.integrations.actions import IntegrationActions, Tested
from appliance.web.integrations.labels import Allowing, Health
from appliance.web.page import cursor
from appliance.web.page.paths import of_tenant

PATH = "/integrations"
PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class IntegrationRow:
    """An integration in the list."""

    known: KnownIntegration
    icon: str
    where: str
    health: Health
    href: str
    test: str
    switch: str
    routes: str
    """The address of the routes that lead to it."""


@dataclass(frozen=True, slots=True)
class IntegrationList:
    """A page of the list."""

    rows: list[IntegrationRow]
    counts: DeliveryCounts
    deliveries: int
    """How many the page of deliveries lists."""
    next: str | None


@dataclass(frozen=True, slots=True)
class ShownTest:
    """How a sample went, in words."""

    sent: float
    delivered: bool
    answered: str
    latency: str
    meaning: str
    allowing: Allowing | None
    facts: list[tuple[str, str]]
    request: str
    answer: str
    hint: str | None


async def read(integrations: IntegrationActions, after: str, who: Viewer, tenant_id: str | None) -> IntegrationList:
    """Return a page of the integrations of a tenant, or of all. Raises Invalid for a cursor of something else."""
    access = integrations.platform.access
    position = cursor.read(after, store.IntegrationPosition)
    async with access.reading(who) as connection:
        wanted = IntegrationFilter(tenant_id)
        found = await store.list_page(connection, wanted, limit=PAGE_ROWS + 1, after=position)
        goes = await counts.read(connection, tenant_id, access.now())
        told = await usual_total(connection, tenant_id, access.now())
    following = found[PAGE_ROWS - 1].position if len(found) > PAGE_ROWS else None
    now = integrations.platform.clock.now()
    rows = [_row(known, integrations, goes, who, now) for known in found[:PAGE_ROWS]]
    return IntegrationList(rows, goes, told, cursor.write(following))


def at(known: KnownIntegration, part: str = "", who: Viewer | None = None) -> str:
    """Return the address of an integration, or of what is done to it, for the request's viewer if none is given."""
    kept = known.integration
    return of_tenant(f"{PATH}/{kept.integration_id}{part}", who or viewer(), kept.tenant_id)


def shown_test(tested: Tested, sent: float) -> ShownTest:
    """Return how a sample went that was sent at a time."""
    outcome = tested.outcome
    answer = outcome.answer.decode(errors="replace")
    facts = [("Address", outcome.address or "none")]
    steps = labels.steps(outcome)
    if steps is not None:
        facts.append(steps)
    if "answer" in outcome.timings:
        size = len(outcome.answer)
        facts.append(("Answer", f"{outcome.timings['answer']:.2f} s, {size} byte{'s' if size != 1 else ''}"))
    clock = labels.clock_of_receiver(outcome, sent)
    if clock is not None:
        facts.append(("Clock of receiver", clock))
    return ShownTest(
        sent,
        outcome.verdict is Verdict.DELIVERED,
        labels.answered(outcome),
        labels.took(outcome),
        labels.meaning(outcome),
        labels.allowing(outcome.error),
        facts,
        outcome.request,
        answer,
        tested.hint,
    )


def _row(
    known: KnownIntegration, integrations: IntegrationActions, goes: DeliveryCounts, who: Viewer, now: float
) -> IntegrationRow:
    kept = known.integration
    sender: Sender | None = integrations.senders.get(kept.type)
    identity = kept.integration_id
    counted = goes.of_integration.get(identity, NONE)
    return IntegrationRow(
        known,
        "i-webhook" if sender is None else sender.icon,
        labels.where(kept, sender),
        labels.health(known, goes.breakers.get(identity), counted, now, who.zone),
        at(known, who=who),
        at(known, "/test", who),
        at(known, "/switch", who),
        of_tenant("/routes", who, kept.tenant_id, integration_id=str(identity)),
    )

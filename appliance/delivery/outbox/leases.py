"""Leases: jobs that a claim gives to this process, with what their notices say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncCursor

from appliance.db.trio_psycopg import Connection
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.notices.facts import ask_facts, facts_of
from appliance.delivery.notices.notice import AlertFacts
from appliance.delivery.outbox.cases import STATEMENTS, DueJob, ids_of, moment
from appliance.delivery.outbox.decisions import Moment
from appliance.delivery.outbox.job import JobEvent, Receipt

LISTED_ALERTS = 100
"""Alerts that a notice names beside its own; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that this process is to send, and what its notice says."""

    job_id: int
    message_id: UUID
    opening_id: UUID | None
    event: JobEvent
    occurrence: int
    tries: int
    attempts: int
    receipt: Receipt
    alert: AlertFacts
    merged: Sequence[AlertFacts]
    merged_count: int
    acknowledge_token: str | None = field(repr=False)
    """The secret part of a link that acknowledges the alert; None where there is nothing to acknowledge."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions about what notices say; the answers come with the end of the transaction."""

    merged: Mapping[int, tuple[list[int], int]]
    """By job: the alerts that it tells beside its own, and how many there are."""
    facts: AsyncCursor[Any] | None
    """None: nothing is to be sent."""


class NoticeReader:
    """Reads what notices say. The questions are asked before the end of a claim, and answered with it."""

    def __init__(self, links: AcknowledgeLinks) -> None:
        self._links = links

    async def ask(
        self,
        connection: Connection[Any],
        tenant_id: str,
        jobs: Sequence[DueJob],
        *,
        summaries: bool,
    ) -> Asked:
        """Ask for what notices say; ``summaries``: some may tell other alerts, too."""
        if not jobs:
            return Asked({}, None)
        merged: Mapping[int, tuple[list[int], int]] = {}
        if summaries or any(job.case.carrier for job in jobs):
            parameters = {"tenant": tenant_id, "ids": ids_of(jobs), "most": LISTED_ALERTS}
            cursor = await connection.execute(STATEMENTS["merged_alerts"], parameters)
            merged = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
        wanted = {job.alert_id for job in jobs} | {alert for alerts, _ in merged.values() for alert in alerts}
        return Asked(merged, await ask_facts(connection, tenant_id, wanted))

    async def leases(self, integration: Integration, jobs: Sequence[DueJob], asked: Asked, at: Moment) -> list[Lease]:
        """Return what is to be sent, with what each notice says."""
        if asked.facts is None:
            return []
        facts = await facts_of(asked.facts)
        leases = []
        for job in jobs:
            alerts, count = asked.merged.get(job.job_id, ([], 0))
            told = [facts[one][0] for one in alerts if one in facts]
            alert, newest_event = facts[job.alert_id]
            token = self._token(integration, alert, newest_event, at) if _has_link(job) else None
            leases.append(
                Lease(
                    job.job_id,
                    job.message_id,
                    job.opening_id,
                    job.event,
                    job.occurrence,
                    job.tries,
                    job.attempts,
                    job.case.receipt,
                    alert,
                    told,
                    count,
                    token,
                )
            )
        return leases

    def _token(self, integration: Integration, alert: AlertFacts, newest_event: int, at: Moment) -> str:
        return self._links.token(
            integration.tenant_id,
            alert.alert_id,
            integration.integration_id,
            integration.version,
            newest_event,
            moment(at.now),
        )


def _has_link(job: DueJob) -> bool:
    """Return whether a notice has a link that acknowledges its alert."""
    return job.event in (JobEvent.OPEN, JobEvent.REMINDER) and job.case.status == "OPEN"

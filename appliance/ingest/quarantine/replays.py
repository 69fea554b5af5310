"""Replay jobs in the database: request, list, cancel. An appliance works on them whenever one runs.

Enters: a connection and a selection. Leaves: a :class:`Replay`, with its audit row in the same transaction; a trigger
notifies REPLAY_CHANNEL. Never: the work itself, which is :mod:`appliance.ingest.quarantine.replayer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict
from appliance.ingest.quarantine.store import STATEMENTS, Selection, audit_entry, check_ids
from appliance.reading import HELD_REASONS, Reason

REPLAY_CHANNEL = "appliance_replay"
"""The channel of LISTEN/NOTIFY on which a trigger announces a new replay."""


class ReplayStatus(StrEnum):
    """The status of a job."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self not in (ReplayStatus.WAITING, ReplayStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Replay:
    """A job. ``total`` messages matched when it was requested; messages after ``last_id`` do not belong to it."""

    replay_id: int
    selection: Selection
    status: ReplayStatus
    total: int
    last_id: int
    done_id: int
    """The id up to which the job has processed messages."""
    replayed: int
    """Stored as readings."""
    duplicate: int
    """Marked as replayed, because the same reading was stored already."""
    refused: Mapping[Reason, int]
    """Still held, by their present reason."""
    gone: int
    """Decided on or evicted in the meantime."""
    error: str | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None

    @property
    def examined(self) -> int:
        """The number of processed messages."""
        return self.replayed + self.duplicate + self.gone + sum(self.refused.values())


def replayable(selection: Selection) -> Selection:
    """Return a selection for a replay: without reasons and messages, it selects all reasons that hold messages."""
    if selection.reasons or selection.ids:
        return selection
    return msgspec.structs.replace(selection, reasons=tuple(sorted(HELD_REASONS)))


async def request_replay(connection: Connection[Any], selection: Selection, context: ChangeContext) -> Replay:
    """Request a replay of the messages of ``selection`` (as ``replayable`` reads it) that are held now.

    Raises NotFound when nothing matches or a named message does not exist; Conflict when one of those has a decision.
    """
    wanted = replayable(selection)
    async with connection.transaction():
        await check_ids(connection, wanted)
        total, last = await measure(connection, wanted)
        require(total or None, "held message that matches")
        parameters = {
            "tenant": wanted.tenant_id,
            "selection": msgspec.json.encode(wanted).decode(),
            "total": total,
            "last": last,
            "actor": context.actor.name,
            "now": context.now,
        }
        row = await (await connection.execute(STATEMENTS["insert_replay"], parameters)).fetchone()
        replay = replay_of(require(row, "replay just made"))
        outcome = {"replay": replay.replay_id, "messages": total}
        await record(connection, audit_entry(context.actor, "quarantine.replay", wanted, outcome), now=context.now)
    return replay


async def measure(connection: Connection[Any], selection: Selection) -> tuple[int, int]:
    """Return the number of held messages that match, and their highest id (0 if none)."""
    cursor = await connection.execute(STATEMENTS["measure_selection"], selection.parameters(), prepare=False)
    total, last = require(await cursor.fetchone(), "count")
    return total, last or 0


async def get_replay(connection: Connection[Any], replay_id: int, tenant_id: str | None = None) -> Replay:
    """Return one job. Raises NotFound, also for a job of another tenant."""
    parameters = {"replay": replay_id, "tenant": tenant_id}
    row = await (await connection.execute(STATEMENTS["select_replay"], parameters)).fetchone()
    return replay_of(require(row, f"replay {replay_id}"))


async def list_replays(connection: Connection[Any], tenant_id: str | None = None, *, limit: int) -> list[Replay]:
    """Return up to ``limit`` jobs of one tenant or of all, newest first."""
    cursor = await connection.execute(STATEMENTS["list_replays"], {"tenant": tenant_id, "limit": limit})
    return [replay_of(row) for row in await cursor.fetchall()]


async def cancel(
    connection: Connection[Any], replay_id: int, context: ChangeContext, tenant_id: str | None = None
) -> Replay:
    """Cancel a job; replayed messages stay replayed. Raises NotFound; Conflict when it has ended already."""
    async with connection.transaction():
        parameters = {"replay": replay_id, "tenant": tenant_id, "now": context.now}
        cancelled = (await connection.execute(STATEMENTS["cancel_replay"], parameters)).rowcount
        replay = await get_replay(connection, replay_id, tenant_id)
        if not cancelled:
            raise Conflict(f"Replay {replay_id} has ended already: {replay.status}.")
        entry = Entry(
            context.actor,
            "quarantine.cancel_replay",
            "replay",
            str(replay_id),
            replay.selection.tenant_id or None,
            None,
            {"replayed": replay.replayed, "examined": replay.examined, "total": replay.total},
        )
        await record(connection, entry, now=context.now)
    return replay


def replay_of(row: tuple[Any, ...]) -> Replay:
    """Return the job of a row, its columns in the order that every statement of ``quarantine.sql`` uses."""
    replay_id, tenant_id, selection, status, total, last_id, done_id, replayed, duplicate, refused, *rest = row
    chosen = msgspec.json.decode(selection, type=Selection)
    return Replay(
        replay_id,
        msgspec.structs.replace(chosen, tenant_id=tenant_id),  # the column is what row-level security has checked
        ReplayStatus(status),
        total,
        last_id,
        done_id,
        replayed,
        duplicate,
        msgspec.json.decode(refused, type=dict[Reason, int]),
        *rest,
    )

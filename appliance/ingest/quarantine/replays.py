"""Replay jobs in the database: asked for, looked at, cancelled. An appliance works on them whenever one runs.

Enters: a connection and a selection. Leaves: a :class:`Replay`, with its audit row in the same transaction; a trigger
tells REPLAY_CHANNEL. The work itself is :mod:`appliance.ingest.quarantine.replayer`.
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
"""Of LISTEN/NOTIFY: a replay was asked for."""


class ReplayStatus(StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (ReplayStatus.WAITING, ReplayStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Replay:
    """A job. ``total`` messages matched when it was asked for; those later than ``last_id`` are not its business."""

    replay_id: int
    selection: Selection
    status: ReplayStatus
    total: int
    last_id: int
    done_id: int
    """Up to this id it is done."""
    replayed: int
    """Stored as readings."""
    duplicate: int
    """Marked as replayed, the same reading being there already."""
    refused: Mapping[Reason, int]
    """Still held, by the reason they are held for now."""
    gone: int
    """Decided or evicted by somebody else meanwhile."""
    error: str | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None

    @property
    def examined(self) -> int:
        """How many messages are done with."""
        return self.replayed + self.duplicate + self.gone + sum(self.refused.values())


def replayable(selection: Selection) -> Selection:
    """What a selection means for a replay: unless it names reasons or messages, those that are held for replay."""
    if selection.reasons or selection.ids:
        return selection
    return msgspec.structs.replace(selection, reasons=tuple(sorted(HELD_REASONS)))


async def request_replay(connection: Connection[Any], selection: Selection, context: ChangeContext) -> Replay:
    """Have the messages of ``selection`` (as ``replayable`` reads it) replayed, those that are held now.

    Raises NotFound when nothing matches or a named message is not there; Conflict when one of those is decided on.
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
        }
        row = await (await connection.execute(STATEMENTS["insert_replay"], parameters)).fetchone()
        replay = replay_of(require(row, "replay just made"))
        outcome = {"replay": replay.replay_id, "messages": total}
        await record(connection, audit_entry(context.actor, "quarantine.replay", wanted, outcome))
    return replay


async def measure(connection: Connection[Any], selection: Selection) -> tuple[int, int]:
    """How many held messages match, and the highest id of them (0 if none)."""
    cursor = await connection.execute(STATEMENTS["measure_selection"], selection.parameters(), prepare=False)
    total, last = require(await cursor.fetchone(), "count")
    return total, last or 0


async def get_replay(connection: Connection[Any], replay_id: int, tenant_id: str | None = None) -> Replay:
    """One job. Raises NotFound, also for another tenant's."""
    parameters = {"replay": replay_id, "tenant": tenant_id}
    row = await (await connection.execute(STATEMENTS["select_replay"], parameters)).fetchone()
    return replay_of(require(row, f"replay {replay_id}"))


async def list_replays(connection: Connection[Any], tenant_id: str | None = None, *, limit: int) -> list[Replay]:
    """Jobs of one tenant or of all, newest first."""
    cursor = await connection.execute(STATEMENTS["list_replays"], {"tenant": tenant_id, "limit": limit})
    return [replay_of(row) for row in await cursor.fetchall()]


async def cancel(
    connection: Connection[Any], replay_id: int, context: ChangeContext, tenant_id: str | None = None
) -> Replay:
    """Stop a job where it stands: what is replayed stays so. Raises NotFound; Conflict when it has ended already."""
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
        await record(connection, entry)
    return replay


def replay_of(row: tuple[Any, ...]) -> Replay:
    """A row, its columns in the order in which every statement of ``quarantine.sql`` names them."""
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

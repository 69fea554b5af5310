"""The migration of a database: its copy is made first, nobody else may run on it, and a newer one is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from appliance.clock import Clock
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import Applied, Migration, NewerDatabaseError, migrate
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from appliance.peers import attendance
from appliance.upgrade.newer import refusal

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the operator has agreed to go without."""

    without_copy: bool = False
    despite_peers: bool = False


class Upgrade:
    """The migration of one database; made once a start, so that a migration tried again has the same copy."""

    def __init__(self, place: Endpoint, data_dir: Path, *, clock: Clock, agreed: Agreed) -> None:
        """``data_dir`` is where copies of an embedded database go."""
        self._place = place
        self._data_dir = data_dir
        self._clock = clock
        self._agreed = agreed

    async def run(self) -> Sequence[Migration]:
        """Apply the pending migrations, and return them. Raises ApplianceError when that cannot be, or must not."""
        try:
            async with await connect(self._place.conninfo(OWNER)) as connection:
                done = await migrate(connection, clock=self._clock, before=partial(self._before, connection))
                if done:
                    await attendance.leave(connection)
                return done
        except NewerDatabaseError as error:
            raise await refusal(error, self._place, self._data_dir) from error

    async def _before(self, connection: Connection[Any], applied: Sequence[Applied], todo: Sequence[Migration]) -> None:
        log.info(
            "the schema is upgraded", version=applied[-1].version, to_version=todo[-1].version, migrations=len(todo)
        )
        if not self._agreed.despite_peers and (others := await attendance.take_alone(connection)):
            raise ApplianceError(_in_the_way(others))


def _in_the_way(others: Sequence[attendance.Attendant]) -> str:
    names = ", ".join(other.title for other in others)
    run, it = ("run", "them") if len(others) > 1 else ("runs", "it")
    return (
        f"the database is not migrated while another program {run} on it: {names}. Stop {it}; when every appliance on"
        " this database is stopped, start one with this version, and the others with it afterwards"
        " (`appliance migrate --despite-peers` migrates now: older programs end by themselves then)"
    )

"""The migration of a database: its copy is made first, nobody else may run on it, and a newer one is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from appliance.clock import Clock
from appliance.config import Config
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import Applied, Migration, NewerDatabaseError, migrate
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from appliance.peers import attendance
from appliance.upgrade.copies import Copy
from appliance.upgrade.copying import UpgradeContext, copy_before
from appliance.upgrade.newer import refusal

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """What an operator may choose to migrate without."""

    without_copy: bool = False
    despite_peers: bool = False


class Upgrade:
    """The migration of one database; made once a start, so that a migration tried again has the same copy."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: Config,
        data_dir: Path,
        *,
        clock: Clock,
        options: MigrationOptions,
        failpoint: Callable[[str], None],
    ) -> None:
        """``data_dir`` is the absolute path of that of ``config``; copies of an embedded database go there."""
        self._context = UpgradeContext(endpoint, config, data_dir, clock, failpoint)
        self._options = options
        self._copy: Copy | None = None

    async def run(self) -> Sequence[Migration]:
        """Apply the pending migrations, and return them. Raises ApplianceError when that cannot be, or must not."""
        context = self._context
        try:
            async with await connect(context.endpoint.conninfo(OWNER)) as connection:
                return await migrate(connection, clock=context.clock, before=partial(self._before, connection))
        except NewerDatabaseError as error:
            raise await refusal(error, context.endpoint, context.data_dir) from error
        except ApplianceError as error:
            if self._copy is None:
                raise
            told = f"{error}. A copy of the database as it was before the upgrade is {self._copy.path}"
            raise ApplianceError(told) from error.__cause__

    async def _before(self, connection: Connection[Any], applied: Sequence[Applied], todo: Sequence[Migration]) -> None:
        schema, target = applied[-1].version, todo[-1].version
        log.info("the schema is upgraded", version=schema, to_version=target, migrations=len(todo))
        if not self._options.despite_peers:
            others = await attendance.take_alone(connection)
            if not others and schema < attendance.SINCE_SCHEMA:
                log.info("looks whether an older program listens", seconds=attendance.LISTENING_SECONDS)
                others = await attendance.listeners(connection)
            if others:
                raise ApplianceError(_in_the_way(others))
        if not self._context.endpoint.login_is_role:
            log.warning("an external database is migrated without a copy: `appliance backup` makes one beforehand")
        elif self._options.without_copy:
            log.warning("the database is migrated without a copy, as asked for")
        elif self._copy is None:
            self._copy = await copy_before(self._context, connection, schema, target)
            self._context.failpoint("upgrade_copied")


def _in_the_way(others: Sequence[attendance.Attendant]) -> str:
    names = ", ".join(other.title for other in others)
    run, it = ("run", "them") if len(others) > 1 else ("runs", "it")
    return (
        f"the database is not migrated while another program {run} on it: {names}. Stop {it}; when every appliance on"
        " this database is stopped, start one with this version, and the others with it afterwards"
        " (`appliance migrate --despite-peers` migrates now: older programs end by themselves then)"
    )

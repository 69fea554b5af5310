"""What cursors and blocks need of their connection: Trio drives psycopg's generators, for one block at a time."""

from typing import Any, TypeVar, cast

import trio
from psycopg import AsyncConnection, errors, pq
from psycopg.abc import PQGen
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from appliance.db.trio_psycopg.lock import Lock
from appliance.db.trio_psycopg.wire import Wire

RV = TypeVar("RV")


class DrivenConnection(AsyncConnection[Row]):
    """psycopg's connection, with a wire to wait by and a lock that knows the wire."""

    def __init__(
        self,
        pgconn: pq.abc.PGconn,
        row_factory: AsyncRowFactory[Row] = cast("Any", tuple_row),  # noqa: B008 - a constant
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.wire = Wire(pgconn)
        self.lock: Lock = Lock(self.wire)  # type: ignore[assignment]  # psycopg only enters and leaves it

    @property
    def in_pipeline(self) -> bool:
        """True inside ``pipeline()``."""
        return self._pipeline is not None

    def sync_gen(self) -> PQGen[None]:
        """Send and read all that a pipeline has queued; nothing outside of one."""
        if self._pipeline is not None:
            yield from self._pipeline._sync_gen()  # noqa: SLF001 - psycopg's own generator of it

    async def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:  # noqa: ARG002
        """Run one of psycopg's generators; all of psycopg's statements come through here.

        Raises psycopg's ``_WaitTimeout`` after ``timeout`` seconds. ``interval`` has no use under Trio.
        """
        if timeout is None:
            return await self.wire.start(gen)
        with trio.move_on_after(timeout):
            return await self.wire.start(gen)
        raise errors._WaitTimeout("wait timeout expired")  # noqa: SLF001 - psycopg's own

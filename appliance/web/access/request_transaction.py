"""The one transaction of a request that is answered once: opened by its first change, committed with its answer.

While a request has one, :class:`appliance.web.access.transactions.Access` lends it in place of a transaction of each
action's own. So what an action wrote and the answer to the request become true together, or not at all.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from quart import g, has_request_context

from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection

Opening = Callable[[Connection[Any]], Awaitable[None]]
"""What is done at the start of the transaction, before the first change of the request."""

_NAME = "request_transaction"


class RequestTransaction:
    """Ends with ``stack``: without an error it is committed, else it is rolled back."""

    def __init__(self, stack: AsyncExitStack, opening: Opening) -> None:
        self._stack = stack
        self._opening = opening
        self._pool: Pool | None = None
        self._begun = False
        self.connection: Connection[Any] | None = None
        """None until the first change."""
        self.asked_password = False
        """The password of the account was checked for this request."""
        self.broker_change: str | None = None
        """The transaction that brokers have to learn of, once it is committed."""

    async def join(self, pool: Pool, begin: Opening) -> Connection[Any]:
        """Return the connection, whose transaction ``begin`` and the opening start if this is the first change.

        Raises RuntimeError for a second pool: one request changes under one role.
        """
        if self.connection is None:
            if self._begun:
                raise RuntimeError("the transaction of this request has failed to open")
            self._begun = True
            connection = await self._stack.enter_async_context(pool.connection())
            await self._stack.enter_async_context(connection.transaction())
            await begin(connection)
            await self._opening(connection)
            self._pool, self.connection = pool, connection
        elif pool is not self._pool:
            raise RuntimeError("a request that is answered once changes in one transaction, under one role")
        return self.connection

    def lends(self, pool: Pool) -> bool:
        """Return whether it is open, on a connection of ``pool``."""
        return self.connection is not None and self._pool is pool


def current() -> RequestTransaction | None:
    """Return the transaction of the current request; None if its actions have transactions of their own."""
    found: RequestTransaction | None = g.get(_NAME) if has_request_context() else None
    return found


def set_current(transaction: RequestTransaction | None) -> None:
    """Give the current request a transaction, or take it away."""
    setattr(g, _NAME, transaction)


def note_password_asked() -> None:
    """Note that the password of the account was checked for the current request."""
    transaction = current()
    if transaction is not None:
        transaction.asked_password = True

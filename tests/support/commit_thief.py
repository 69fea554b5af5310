"""A proxy before Postgres that steals one COMMIT, or the server's answer to it, and cuts the connection."""

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path

import trio

from tests.support.postgres_server import PORT, Database

HUNG_UP = (trio.BrokenResourceError, trio.ClosedResourceError)


class Theft(Enum):
    """What is stolen."""

    QUESTION = "the COMMIT never arrives"
    ANSWER = "it is committed, and nobody says so"


class CommitThief:
    """Passes everything on until it is told to steal; then it steals from the next transaction that commits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plan: Theft | None = None
        self.stolen = 0

    def conninfo(self, database: Database, role: str) -> str:
        """Return a connection string that leads here."""
        return f"host={self.directory} port={PORT} dbname={database.name} user={role}"

    async def serve(self, listener: trio.SocketListener, target: Path) -> None:
        """Accept for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                client = await listener.accept()
                nursery.start_soon(self._connection, client, await trio.open_unix_socket(str(target)))

    async def _connection(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        async with client, server, trio.open_nursery() as nursery:

            async def forward() -> None:
                with suppress(*HUNG_UP):
                    await self._forward(client, server)
                nursery.cancel_scope.cancel()

            nursery.start_soon(forward)
            with suppress(*HUNG_UP):
                async for data in server:
                    await client.send_all(data)
            nursery.cancel_scope.cancel()

    async def _forward(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        """Forward from client to server until either is gone or something was stolen."""
        async for data in client:
            if self.plan is None or b"COMMIT" not in data:
                await server.send_all(data)
                continue
            plan, self.plan = self.plan, None
            self.stolen += 1
            if plan is Theft.ANSWER:
                await trio.aclose_forcefully(client)
                await server.send_all(data)
                await trio.sleep_forever()
            return


@asynccontextmanager
async def commit_thief(database: Database) -> AsyncGenerator[CommitThief, None]:
    """Run a thief on a socket of its own."""
    with tempfile.TemporaryDirectory(prefix="thief-", dir="/tmp") as name:
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(f"{name}/.s.PGSQL.{PORT}")
        listening.listen()
        thief = CommitThief(Path(name))
        target = database.server.socket_dir / f".s.PGSQL.{database.server.port}"
        async with trio.SocketListener(listening) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(thief.serve, listener, target)
            yield thief
            nursery.cancel_scope.cancel()

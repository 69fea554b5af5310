"""Work on the appliance's database from the command line, as the operating-system user."""

import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import psycopg
import trio

from appliance.cli import Invocation
from appliance.cli.database import opened
from appliance.cli.service_time import service_clock
from appliance.config import Config
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import schema_version, shipped
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.credentials.broker_sync import CredentialChange, SyncStatus, credential_change, only
from appliance.errors import ApplianceError
from appliance.renewals.policy import RenewalPolicy
from appliance.service_clock.clock import ServiceClock

T = TypeVar("T")
Opened = Callable[[Config], AbstractAsyncContextManager[Endpoint]]


class Administration:
    """A connection that sees all tenants, and the person at the keyboard."""

    def __init__(
        self, connection: Connection[Any], endpoint: Endpoint, clock: ServiceClock, renewals: RenewalPolicy
    ) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.clock = clock
        self.renewals = renewals
        self.grace = renewals.grace
        self.sync_status: SyncStatus | None = None
        """Whether the broker knows the last change of credentials; None before one."""

    @property
    def context(self) -> ChangeContext:
        """The person at the keyboard, now."""
        now, settled = (datetime.fromtimestamp(at, UTC) for at in (self.clock.now(), self.clock.settled()))
        return ChangeContext(Actor(operating_system_user(), ActorKind.COMMAND), now, settled, user_id=None)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[CredentialChange]:
        """Change credentials in a transaction; leaves once the broker knows, or after some seconds."""
        async with credential_change(self._transaction(), only(self.connection)) as change:
            yield change
        self.sync_status = change.sync_status

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection[Any]]:
        async with self.connection.transaction():
            yield self.connection


def administer(
    invocation: Invocation, work: Callable[[Administration], Awaitable[T]], *, database: Opened = opened
) -> T:
    """Run ``work`` on the appliance's database, embedded or external; print `pending` when the broker is late.

    ``database`` is how it is found: usually that of the appliance that runs, or started for the length of the command.

    Raises ApplianceError when the database cannot be reached, and what ``work`` raises.
    """
    result, sync_status = trio.run(_administer, invocation.config, work, database)
    if sync_status is SyncStatus.PENDING:
        click.echo("pending: saved; the broker has not applied it yet", err=True)
    return result


async def _administer(
    config: Config, work: Callable[[Administration], Awaitable[T]], database: Opened
) -> tuple[T, SyncStatus | None]:
    async with database(config) as endpoint:
        try:
            async with await connect(endpoint.conninfo(INGEST)) as connection:
                await _check_schema(connection)
                administration = Administration(connection, endpoint, service_clock(config), _renewals(config))
                return await work(administration), administration.sync_status
        except psycopg.OperationalError as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ApplianceError(f"the database cannot be reached: {reason}") from error


def _renewals(config: Config) -> RenewalPolicy:
    """Return what the configuration says of renewals."""
    configured = config.subscriptions
    return RenewalPolicy(timedelta(days=configured.grace_days), configured.renewal_opens_days, configured.plans)


async def _check_schema(connection: Connection[Any]) -> None:
    version, needed = await schema_version(connection), shipped()[-1].version
    if version != needed:
        raise ApplianceError(
            f"the database's schema is at version {version}, this program needs {needed}: run `appliance migrate`"
        )


def operating_system_user() -> str:
    """Return the name of the operating-system user, or its number."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"

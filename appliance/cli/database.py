"""The database of the commands: the external one, or that of the appliance that runs on data_dir.

While no appliance runs there, the embedded Postgres can be started alone for the length of a command.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from psycopg.conninfo import make_conninfo

from appliance.children.data_dir import SOCKETS, RunFile, lock_holder, open_data_dir, read_run_file
from appliance.children.postgres import Postgres
from appliance.children.postgres_files import PORT
from appliance.cli.service_time import service_clock
from appliance.config import Config
from appliance.db import bootstrap
from appliance.db.endpoint import DATABASE, Endpoint
from appliance.db.roles import ROLES
from appliance.errors import ApplianceError
from appliance.failpoints import Failpoints
from appliance.runtime.addresses import lan_addresses, web_address
from appliance.upgrade.migration import MigrationOptions, Upgrade

SUPERUSER = "postgres"
"""The superuser of the embedded Postgres. Access to its socket implies all of its rights."""
ANY_DATABASE = "postgres"
"""The database that exists from the start, when the appliance's own may not yet."""


def endpoint(config: Config) -> Endpoint:
    """Return the database of this configuration. Raises ApplianceError when it is embedded and does not run."""
    if config.database.url is not None:
        return Endpoint.external(config.database.url.reveal())
    return Endpoint(running(config).database, login_is_role=True)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Endpoint]:
    """Yield the database of this configuration; an embedded one that does not run is started for the block.

    One that was started has the schema of this program. Raises ApplianceError when it cannot be started or upgraded.
    Errors of the block are then raised in a group.
    """
    async with as_it_is(config) as place:
        if place.login_is_role and not _runs(config):
            await upgrade(config, place, MigrationOptions()).run()
        yield place


@asynccontextmanager
async def as_it_is(config: Config) -> AsyncIterator[Endpoint]:
    """Yield the database like ``opened``, with the schema that it has."""
    if config.database.url is not None or _runs(config):
        yield endpoint(config)
        return
    with open_data_dir(config.data_dir) as data:
        async with trio.open_nursery() as nursery:
            postgres = Postgres(data, roles=[role.name for role in ROLES], clock=service_clock(config))
            place = await nursery.start(postgres.run)
            alone = Endpoint.local(place.socket_dir, place.port)
            await bootstrap.prepare_own(make_conninfo(alone.base, user=SUPERUSER, dbname=ANY_DATABASE), DATABASE)
            yield alone
            nursery.cancel_scope.cancel()


def upgrade(config: Config, place: Endpoint, options: MigrationOptions) -> Upgrade:
    """Return the upgrade of the database to the schema of this program."""
    return Upgrade(
        place,
        config,
        config.data_dir.resolve(),
        clock=service_clock(config),
        options=options,
        failpoint=Failpoints.from_environment(os.environ),
    )


@asynccontextmanager
async def of_our_parent(config: Config) -> AsyncIterator[Endpoint]:
    """Yield the database of the appliance that has started this process, which may not be ready for others yet."""
    if config.database.url is not None:
        yield endpoint(config)
    else:
        yield Endpoint.local((config.data_dir / SOCKETS).resolve() / "postgres", PORT)


class NotRunningError(ApplianceError):
    """No appliance is ready on the data folder."""


def _runs(config: Config) -> bool:
    """Return whether an appliance runs on ``data_dir``. Raises ApplianceError when that cannot be read."""
    try:
        running(config)
    except NotRunningError:
        return False
    return True


def running(config: Config) -> RunFile:
    """Return the run file of the appliance on ``data_dir``. Raises ApplianceError when none is ready there."""
    run = read_run_file(config.data_dir)
    if run is None:
        if (holder := lock_holder(config.data_dir)) is not None:
            raise NotRunningError(
                f"the appliance on {config.data_dir} (pid {holder}) is not ready, or a command works there: "
                "its log says what it waits for; try again after that"
            )
        raise NotRunningError(
            f"no appliance runs on {config.data_dir}: start it with appliance run, "
            "or name another data_dir (APPLIANCE_DATA_DIR) or database.url"
        )
    return run


def web_url(config: Config) -> str:
    """Return the address of the dashboard: of the running appliance, else the configured one."""
    try:
        return running(config).web_url
    except ApplianceError:
        web = config.web
        return web.public_url or web_address(lan_addresses()[0], web.port, tls=web.tls)

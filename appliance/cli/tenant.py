"""``appliance tenant``: tenants and their claim users."""

from collections.abc import Awaitable, Callable
from typing import Any

import click

from appliance.cli import Invocation, offboarding
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.tenants import IssuedClaim, Strategy, Tenant

COLUMNS = ("tenant_id", "name", "status", "provisioning", "claim_enabled", "devices")


@click.group()
def command() -> None:
    """Add, list, export and delete tenants, suspend and resume them, and control how their new devices are handled."""


command.add_command(offboarding.export_)
command.add_command(offboarding.delete)


@command.command()
@click.argument("tenant")
@click.option("--name", help="Display name.")
@click.option(
    "--provisioning",
    type=click.Choice([strategy.value for strategy in Strategy]),
    default=Strategy.AUTO.value,
    show_default=True,
    help="What happens when an unknown device connects.",
)
@json_option
@click.pass_obj
def add(invocation: Invocation, tenant: str, name: str | None, provisioning: str, as_json: bool) -> None:
    """Add TENANT, and print the claim user with which its new devices register.

    The password is shown only once.
    """

    async def work(administration: Administration) -> IssuedClaim:
        async with administration.changing():
            return await tenants.add(
                administration.connection,
                tenant,
                administration.context,
                name=name,
                provisioning=Strategy(provisioning),
                time_zone="UTC",
            )

    show_one(plain(administer(invocation, work)), as_json=as_json)


@command.command("list")
@json_option
@click.pass_obj
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the tenants."""

    async def work(administration: Administration) -> list[Tenant]:
        return await tenants.list_all(administration.connection)

    show_rows([plain(tenant) for tenant in administer(invocation, work)], COLUMNS, as_json=as_json)


@command.command()
@click.argument("tenant")
@json_option
@click.pass_obj
def suspend(invocation: Invocation, tenant: str, as_json: bool) -> None:
    """Suspend TENANT: refuse its messages until it is resumed."""
    _change(invocation, lambda connection, context: tenants.suspend(connection, tenant, context), as_json=as_json)


@command.command()
@click.argument("tenant")
@json_option
@click.pass_obj
def resume(invocation: Invocation, tenant: str, as_json: bool) -> None:
    """Resume TENANT: accept its messages again."""
    _change(invocation, lambda connection, context: tenants.resume(connection, tenant, context), as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("strategy", type=click.Choice([strategy.value for strategy in Strategy]))
@json_option
@click.pass_obj
def provisioning(invocation: Invocation, tenant: str, strategy: str, as_json: bool) -> None:
    """Set what happens to new devices of TENANT."""
    wanted = Strategy(strategy)
    _change(
        invocation,
        lambda connection, context: tenants.set_provisioning(connection, tenant, wanted, context),
        as_json=as_json,
    )


@command.command("rotate-claim")
@click.argument("tenant")
@json_option
@click.pass_obj
def rotate_claim(invocation: Invocation, tenant: str, as_json: bool) -> None:
    """Create a new claim password for TENANT and print it; the old one stops working at once."""

    async def work(administration: Administration) -> IssuedClaim:
        async with administration.changing():
            return await tenants.rotate_claim(administration.connection, tenant, administration.context)

    show_one(plain(administer(invocation, work)), as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("state", type=click.Choice(["on", "off"]))
@json_option
@click.pass_obj
def claim(invocation: Invocation, tenant: str, state: str, as_json: bool) -> None:
    """Open or close the claim user of TENANT."""
    _change(
        invocation,
        lambda connection, context: tenants.set_claim(connection, tenant, context, enabled=state == "on"),
        as_json=as_json,
    )


def _change(
    invocation: Invocation, change: Callable[[Connection[Any], ChangeContext], Awaitable[Tenant]], *, as_json: bool
) -> None:
    async def work(administration: Administration) -> Tenant:
        async with administration.changing():
            return await change(administration.connection, administration.context)

    row = plain(administer(invocation, work))
    show_one(row, as_json=True) if as_json else show_rows([row], COLUMNS, as_json=False)

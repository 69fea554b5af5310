"""``appliance token``: API tokens of users."""

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, show_one
from appliance.people import tokens, users

DAYS = 90


@click.group()
def command() -> None:
    """Create API tokens, with which programs act on behalf of a user."""


@command.command()
@click.argument("email")
@click.option("--scopes", default="read", show_default=True, help="Any of read, write and ingest, separated by commas.")
@click.option("--days", type=int, default=DAYS, show_default=True, help="Days until it expires.")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option("--tenant", help="The user's tenant, if several tenants have a user with this address.")
@json_option
@click.pass_obj
def add(
    invocation: Invocation, email: str, scopes: str, days: int, name: str, tenant: str | None, as_json: bool
) -> None:
    """Create a token for EMAIL and print it; it is shown only once."""
    wanted = tokens.scopes_of(scopes.split(","))

    async def work(administration: Administration) -> str:
        user = await users.by_email(administration.connection, email, tenant)
        return await tokens.add(administration.connection, user, name, wanted, days, administration.context)

    token = administer(invocation, work)
    show_one({"token": token}, as_json=True) if as_json else click.echo(token)

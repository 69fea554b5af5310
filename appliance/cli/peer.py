"""``appliance peer``: the appliances on the database."""

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.peers import store
from appliance.peers.store import Peer

COLUMNS = ("instance", "name", "version", "listened_at", "devices", "away")


@click.group()
def command() -> None:
    """List the appliances on the database, and remove one that does not come back."""


@command.command("list")
@json_option
@click.pass_obj
def list_(invocation: Invocation, as_json: bool) -> None:
    """List all appliances on the database, with those that are away."""

    async def work(administration: Administration) -> list[Peer]:
        return await store.list_all(administration.connection, administration.context.now)

    show_rows([plain(peer) for peer in administer(invocation, work)], COLUMNS, as_json=as_json)


@command.command()
@click.argument("instance")
@json_option
@click.pass_obj
def remove(invocation: Invocation, instance: str, as_json: bool) -> None:
    """Remove the appliance INSTANCE, which is away: its devices count as heard by all others."""

    async def work(administration: Administration) -> None:
        await store.remove(administration.connection, instance, administration.context)

    administer(invocation, work)
    show_one({"removed": instance}, as_json=as_json)

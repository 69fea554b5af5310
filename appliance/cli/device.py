"""``appliance device``: devices, their seats and their credentials."""

from datetime import UTC, datetime
from typing import IO, Any

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.devices import inventory
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import IssuedSecrets, Rotation
from appliance.devices.device import NewDevice
from appliance.devices.inventory import Listed
from appliance.devices.seats import changes, import_file, imports
from appliance.devices.seats.import_file import ImportRow
from appliance.devices.seats.imports import ImportLine, ImportOutcome

COLUMNS = ("device_id", "status", "subscription_id", "site_id", "name", "own_credential", "last_seen_at")
IMPORT_COLUMNS = ("line", "device_id", "outcome", "subscription_id", "detail")


@click.group()
def command() -> None:
    """Add, import and list devices; approve, rotate and revoke them."""


@command.command()
@click.argument("tenant")
@click.argument("device")
@click.option("--site", help="The site of the device.")
@click.option("--subscription", help="The subscription that provides the seat. Default: the preferred one.")
@json_option
@click.pass_obj
def add(
    invocation: Invocation, tenant: str, device: str, site: str | None, subscription: str | None, as_json: bool
) -> None:
    """Register DEVICE of TENANT and print its credential: a password for MQTT, a token for HTTP.

    Both are shown only once.
    """
    new = NewDevice(device, site_id=site, subscription_id=subscription)

    async def work(administration: Administration) -> IssuedSecrets:
        async with administration.changing():
            await changes.create(
                administration.connection, tenant, new, administration.context, grace=administration.grace
            )
            return await credentials.create(administration.connection, tenant, device, administration.context)

    show_one(plain(administer(invocation, work)), as_json=as_json)


@command.command("list")
@click.argument("tenant")
@json_option
@click.pass_obj
def list_(invocation: Invocation, tenant: str, as_json: bool) -> None:
    """List the devices of TENANT."""

    async def work(administration: Administration) -> list[Listed]:
        return await inventory.list_all(administration.connection, tenant)

    show_rows([plain(device) for device in administer(invocation, work)], COLUMNS, as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("device")
@json_option
@click.pass_obj
def show(invocation: Invocation, tenant: str, device: str, as_json: bool) -> None:
    """Show DEVICE of TENANT."""

    async def work(administration: Administration) -> dict[str, Any]:
        connection = administration.connection
        found = plain(await inventory.get(connection, tenant, device))
        credential = await credentials.get(connection, tenant, device)
        return {**found, "credential": None if credential is None else plain(credential)}

    row = administer(invocation, work)
    if not as_json:
        row |= {f"credential_{name}": value for name, value in (row.pop("credential") or {}).items()}
    show_one(row, as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("device")
@click.option("--now", "at_once", is_flag=True, help="Switch to the new password at once.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]),
    metavar="TIME",
    help="When to switch, with the UTC offset: 2026-12-01T06:00+0100.",
)
@json_option
@click.pass_obj
def rotate(invocation: Invocation, tenant: str, device: str, at_once: bool, at: datetime | None, as_json: bool) -> None:
    """Create a new password and token for DEVICE of TENANT and print them; they are shown only once.

    The old password works until `appliance device switch`, or until the time given; then the device is disconnected
    and must use the new one. The old token works for another 24 hours. A device without its own credential gets
    its first one at once.
    """
    if at_once and at is not None:
        raise click.UsageError("--now and --at cannot be combined")
    rotation = Rotation(None if at is None else at.astimezone(UTC), now=at_once)

    async def work(administration: Administration) -> dict[str, Any]:
        connection = administration.connection
        async with administration.changing():
            issued = await credentials.rotate(connection, tenant, device, administration.context, rotation)
            credential = await credentials.get(connection, tenant, device)
        staged = credential is not None and credential.staged_at is not None
        return {**plain(issued), "staged": staged, "switch_at": plain(credential)["switch_at"]}

    show_one(administer(invocation, work), as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("device")
@json_option
@click.pass_obj
def switch(invocation: Invocation, tenant: str, device: str, as_json: bool) -> None:
    """Switch DEVICE to its new password now, and disconnect it."""

    async def work(administration: Administration) -> Listed:
        async with administration.changing():
            await credentials.switch(administration.connection, tenant, device, administration.context)
        return await inventory.get(administration.connection, tenant, device)

    _show_device(administer(invocation, work), as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("device")
@json_option
@click.pass_obj
def revoke(invocation: Invocation, tenant: str, device: str, as_json: bool) -> None:
    """Revoke DEVICE of TENANT: it loses its seat and credential, and is disconnected."""

    async def work(administration: Administration) -> Listed:
        async with administration.changing():
            await changes.revoke(administration.connection, tenant, device, administration.context)
        return await inventory.get(administration.connection, tenant, device)

    _show_device(administer(invocation, work), as_json=as_json)


@command.command()
@click.argument("tenant")
@click.argument("device")
@click.option("--subscription", help="The subscription that provides the seat. Default: the preferred one.")
@json_option
@click.pass_obj
def approve(invocation: Invocation, tenant: str, device: str, subscription: str | None, as_json: bool) -> None:
    """Approve DEVICE of TENANT, which is pending approval."""

    async def work(administration: Administration) -> Listed:
        await changes.approve(
            administration.connection, tenant, device, administration.context, subscription, grace=administration.grace
        )
        return await inventory.get(administration.connection, tenant, device)

    _show_device(administer(invocation, work), as_json=as_json)


@command.command("import")
@click.argument("tenant")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Show the outcome of each row, and change nothing.")
@click.option(
    "--credentials", "with_credentials", is_flag=True, help="Create and print a credential for each new device."
)
@json_option
@click.pass_obj
def import_(
    invocation: Invocation, tenant: str, file: IO[bytes], dry_run: bool, with_credentials: bool, as_json: bool
) -> int:
    """Register the devices in the CSV FILE (- is standard input) for TENANT. It can be run again.

    Columns: device_id, name, site_id, place, tags (separated by |), subscription_id, interval (seconds). Ends with 1
    when a row was not taken.
    """
    rows = import_file.read(file.read())

    async def work(administration: Administration) -> list[dict[str, Any]]:
        connection, context, grace = administration.connection, administration.context, administration.grace
        devices = [row.new for row in rows]
        if dry_run:
            return _outcomes(
                rows, await imports.import_many(connection, tenant, devices, context, grace=grace, dry_run=True), []
            )
        async with administration.changing():
            lines = await imports.import_many(connection, tenant, devices, context, grace=grace)
            made = [line.new.device_id for line in lines if line.outcome is ImportOutcome.CREATED]
            wanted = made if with_credentials else []
            issued = await credentials.create_many(connection, tenant, wanted, context) if wanted else []
        return _outcomes(rows, lines, issued)

    outcomes = administer(invocation, work)
    secrets = ("username", "password", "token") if with_credentials and not dry_run else ()
    show_rows(outcomes, (*IMPORT_COLUMNS, *secrets), as_json=as_json)
    return int(any(row["outcome"] in {ImportOutcome.NO_CAPACITY, ImportOutcome.REFUSED} for row in outcomes))


def _outcomes(rows: list[ImportRow], lines: list[ImportLine], issued: list[IssuedSecrets]) -> list[dict[str, Any]]:
    secrets = {one.device_id: one for one in issued}
    outcomes = []
    for row, line in zip(rows, lines, strict=True):
        one = secrets.get(line.new.device_id) if line.outcome is ImportOutcome.CREATED else None
        outcomes.append(
            {
                "line": row.line,
                "device_id": line.new.device_id,
                "outcome": line.outcome.value,
                "detail": line.detail,
                "subscription_id": line.subscription_id,
                "username": None if one is None else one.username,
                "password": None if one is None else one.password,
                "token": None if one is None else one.token,
            }
        )
    return outcomes


def _show_device(device: Listed, *, as_json: bool) -> None:
    row = plain(device)
    show_one(row, as_json=True) if as_json else show_rows([row], COLUMNS, as_json=False)

"""``appliance clock``: what the appliance goes by, what the machine shows, and the way out of their doubt."""

from datetime import UTC, datetime

import click
import trio

from appliance.children.data_dir import read_instance, read_run_file
from appliance.children.polling import until
from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, show_one
from appliance.cli.service_time import service_clock
from appliance.service_clock import confirmations
from appliance.service_clock.advice import CAUSES, EFFECT, MEND
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.service_time import Instant

PATIENCE_SECONDS = 15.0
"""Seconds that the command waits for a running appliance, which takes one or two on a machine that is not busy."""
LOOK_SECONDS = 0.1


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show the service time and the machine's clock, and whether that is in doubt."""
    if context.invoked_subcommand is None:
        _show(service_clock(context.obj.config), as_json=as_json)


@command.command()
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def confirm(invocation: Invocation, as_json: bool, yes: bool) -> None:
    """Confirm that the machine's clock is right, although it is in doubt.

    A running appliance follows it at once, else the next start does. A clock that is set afterwards is in doubt again.
    """
    instance = read_instance(invocation.config.data_dir).instance_id

    async def work(administration: Administration) -> Instant | None:
        clock = administration.clock
        clock.settle_start(await confirmations.newest_receipt(administration.connection, instance), None)
        if clock.trusted:
            return None
        if not (yes or as_json):
            click.echo(_text(clock))
            click.confirm("Is the machine's clock right?", abort=True)
        confirmed = await confirmations.confirm(
            administration.connection, instance, clock, administration.context, shown=None
        )
        await _applied(invocation)
        return confirmed

    confirmed = administer(invocation, work)
    trusted = service_clock(invocation.config).trusted
    if as_json:
        time = None if confirmed is None else _moment(confirmed.time)
        show_one({"confirmed": time, "applied": trusted}, as_json=True)
    elif confirmed is None:
        click.echo("The clock is trusted already; there is nothing to confirm.")
    else:
        click.echo("The clock is trusted again." if trusted else "Confirmed. It is followed at the next start.")


async def _applied(invocation: Invocation) -> None:
    """Wait until a running appliance follows the clock; none that runs, no wait."""
    if read_run_file(invocation.config.data_dir) is None:
        return
    with trio.move_on_after(PATIENCE_SECONDS):
        await until(lambda: service_clock(invocation.config).trusted, period=LOOK_SECONDS)


def _show(clock: ServiceClock, *, as_json: bool) -> None:
    if not as_json:
        click.echo(_text(clock))
        return
    doubt = clock.doubt
    shown = {
        "trusted": doubt is None,
        "service_time": _moment(clock.now()),
        "machine_time": _moment(clock.wall()),
        "cause": None if doubt is None else doubt.cause.value,
        "doubted_since": None if doubt is None else _moment(doubt.since),
    }
    show_one(shown, as_json=True)


def _text(clock: ServiceClock) -> str:
    doubt = clock.doubt
    lines = [f"service time     {_moment(clock.now())}", f"machine's clock  {_moment(clock.wall())}"]
    if doubt is None:
        return "\n".join([*lines, "state            trusted"])
    lines.append(f"state            in doubt since {_moment(doubt.since)}")
    return "\n".join([*lines, "", CAUSES[doubt.cause], EFFECT, MEND, "To confirm it: appliance clock confirm"])


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

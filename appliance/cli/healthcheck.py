"""``appliance healthcheck``: whether the appliance on the data folder is alive, for container engines and watchdogs."""

import os

import click
import trio

from appliance.children.data_dir import SOCKETS, read_run_file
from appliance.cli import Invocation
from appliance.config import locate_data_dir
from appliance.diagnostics import liveness
from appliance.errors import ApplianceError

PATIENCE_SECONDS = 5.0
"""Seconds for the answer: half of what the image's HEALTHCHECK allows for the whole command."""


@click.command()
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Exit with 0 if the appliance is alive, with 1 if none runs on data_dir or it does not answer.

    Alive is not ready: an appliance that starts, or waits for its disk, database or broker, is alive, and a restart
    would not help. Whether messages are accepted and stored is answered at /readyz.
    """
    folder = locate_data_dir(invocation.config_file, os.environ)
    fault = trio.run(liveness.ask, folder / SOCKETS, PATIENCE_SECONDS)
    if fault is not None:
        raise ApplianceError(f"the appliance on {folder} is not alive: {fault}")
    click.echo("alive" if read_run_file(folder) is not None else "alive, and not ready: /readyz and the log say why")

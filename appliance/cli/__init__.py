"""The command line: ``appliance [--config FILE] COMMAND``. A command is one module here and one entry in ``COMMANDS``.

Enters: argv. Leaves: output for people, or JSON with ``--json``; errors as exceptions, which ``program`` turns into one
line and an exit code. Never: logic of its own - a command calls the functions that the pages call too.
"""

import gc
import os
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import click

from appliance.config import Config, Loaded, load
from appliance.end_signals import ended_at_once

COMMANDS = {
    "backup": "appliance.cli.backup",
    "ca": "appliance.cli.ca",
    "check-config": "appliance.cli.check_config",
    "clock": "appliance.cli.clock",
    "confirm-restore": "appliance.cli.confirm_restore",
    "device": "appliance.cli.device",
    "doctor": "appliance.cli.doctor",
    "healthcheck": "appliance.cli.healthcheck",
    "migrate": "appliance.cli.migrate",
    "peer": "appliance.cli.peer",
    "psql": "appliance.cli.psql",
    "quarantine": "appliance.cli.quarantine",
    "restore": "appliance.cli.restore",
    "run": "appliance.cli.run",
    "sbom": "appliance.cli.sbom",
    "setup-link": "appliance.cli.setup_link",
    "simulate": "appliance.cli.simulate",
    "subscription": "appliance.cli.subscription",
    "support-bundle": "appliance.cli.support_bundle",
    "tenant": "appliance.cli.tenant",
    "token": "appliance.cli.token",
    "user": "appliance.cli.user",
    "version": "appliance.cli.version",
}
"""The module of each command; its click command is called ``command``. Only the one that is asked for is imported."""


@dataclass(frozen=True)
class Invocation:
    """What every command gets: where its configuration is. It is read on first use, so that ``version`` needs none."""

    config_file: Path | None

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration with its origins. Raises ConfigurationError."""
        return load(self.config_file, os.environ)

    @property
    def config(self) -> Config:
        """The configuration. Raises ConfigurationError."""
        return self.loaded.config


class Commands(click.Group):
    """The group that finds its commands in ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command called ``cmd_name``."""
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of the start
        try:
            with ended_at_once():
                command: click.Command = import_module(COMMANDS[cmd_name]).command
        finally:
            gc.enable()
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file. Default: $APPLIANCE_CONFIG, ./appliance.toml or /etc/appliance/appliance.toml.",
)
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """The Edge Appliance: stores every MQTT message in exactly one committed place."""
    context.obj = Invocation(config_file)

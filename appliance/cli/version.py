"""``appliance version``."""

import json
import platform
import sys

import click

import appliance


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print the version of the appliance and of its Python."""
    python = platform.python_version()
    if as_json:
        click.echo(json.dumps({"version": appliance.__version__, "python": python, "platform": sys.platform}))
    else:
        click.echo(f"appliance {appliance.__version__} (Python {python})")

"""``appliance version``."""

import json
import platform
import sys

import click

import appliance
from appliance.assets import asset
from appliance.sbom import python_packages


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--notices", is_flag=True, help="Print what it holds of others, with the texts of their licences.")
def command(as_json: bool, notices: bool) -> None:
    """Print the version of the appliance and of its Python."""
    if notices:
        click.echo(asset("THIRD-PARTY-NOTICES.md").read_text(), nl=False)
        return
    python = platform.python_version()
    if as_json:
        packages = {python_packages.name_of(each): each.version for each in python_packages.installed()}
        found = {
            "version": appliance.__version__,
            "python": python,
            "platform": sys.platform,
            "single_file": bool(getattr(sys, "frozen", False)),
            "packages": packages,
        }
        click.echo(json.dumps(found))
    else:
        click.echo(f"appliance {appliance.__version__} (Python {python})")

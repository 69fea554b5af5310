"""``appliance check-config``: every effective value and where it came from."""

import json

import click

from appliance.cli import Invocation
from appliance.config import masked, warnings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Check the configuration and print every value with its origin; secrets are masked."""
    loaded = invocation.loaded
    rows = [(key, value, loaded.origins[key]) for key, value in masked(loaded.config).items()]
    if as_json:
        settings = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        file = None if loaded.file is None else str(loaded.file)
        doubts = [{"key": key, "message": message} for key, message in warnings(loaded.config)]
        click.echo(json.dumps({"file": file, "settings": settings, "warnings": doubts}, indent=2))
        return
    table = [("KEY", "VALUE", "FROM"), *((key, _shown(value), origin) for key, value, origin in rows)]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    for key, value, origin in table:
        click.echo(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    for key, message in warnings(loaded.config):
        click.echo(f"warning: {key} {message}", err=True)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)

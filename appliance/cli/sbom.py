"""``appliance sbom``: the bill of materials of what is installed here."""

import json
from pathlib import Path

import click

from appliance.sbom.cyclonedx import document


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="/",
    help="The root of the system whose Debian packages are listed. Default: this one.",
)
def command(root: Path) -> None:
    """Print every package that the appliance runs with, Python's and Debian's, as CycloneDX 1.6 (JSON)."""
    click.echo(json.dumps(document(root), indent=1))

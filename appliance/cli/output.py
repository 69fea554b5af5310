"""The output of commands: JSON for scripts, an aligned table or a few lines for people."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])

NOTHING = "-"


def json_option(command: F) -> F:
    """Add ``--json``, which every command has that prints data."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def plain(value: Any) -> Any:
    """Return a frozen dataclass as JSON values: times in RFC 3339."""
    return msgspec.to_builtins(value)


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON with all fields, or as a table with these columns."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2))
        return
    table = [[name.upper() for name in columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object: as JSON, or a line for each field."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: Any) -> str:
    match value:
        case None | "" | []:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
    return str(value)

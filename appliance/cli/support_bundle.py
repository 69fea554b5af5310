"""``appliance support-bundle``: one file for whoever looks for a fault remotely, without secrets and messages."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from appliance.children.data_dir import SOCKETS, read_run_file
from appliance.cli import Invocation
from appliance.cli.doctor import examination_of, reading, summary
from appliance.cli.service_time import service_clock
from appliance.config import FIELDS, Config, Loaded, Secret, masked, value_of, warnings
from appliance.diagnostics import status_socket
from appliance.errors import Invalid
from appliance.new_file import new_file
from appliance.service_clock.clock import ServiceClock
from appliance.support_bundle import database, machine
from appliance.support_bundle.archive import Part, as_json, write
from appliance.support_bundle.scrub import Scrubber

PART_SECONDS = 120.0
"""Seconds for one part, the slowest of which are the checks of the doctor."""
TO_OUTPUT = "-"
SILENT = "the appliance does not run, or is another version: start it to have this part"
NAMELESS = (
    "The database could not be asked which tenants, sites and devices there are: texts of errors may name some of them."
)


class MissingError(Exception):
    """A part cannot be had; the text says why."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.pass_obj
def command(invocation: Invocation, file: Path | None) -> None:
    """Write one ZIP file with the state of the appliance for support; FILE must be new, - is the standard output.

    Its first file says what is in it. It holds no password, key or token, no message, and the name of nobody: tenants,
    sites and devices have numbers. It works while the appliance runs and while it is stopped, and changes nothing.
    """
    loaded = invocation.loaded
    clock = service_clock(loaded.config)
    now = datetime.fromtimestamp(clock.now(), UTC)
    target = file or Path(f"support-{now:%Y%m%dT%H%M%SZ}.zip")
    to_output = str(target) == TO_OUTPUT
    if not to_output and target.exists():
        raise Invalid(f"{target} exists already: name a new file.", "file")
    parts, caution = trio.run(_collect, loaded, clock)
    heading = f"Support bundle of an Edge Appliance, {now:%Y-%m-%d %H:%M:%S} UTC"
    content = write(parts, "\n\n".join(filter(None, [heading, caution])), now)
    if to_output:
        sys.stdout.buffer.write(content)
        return
    with new_file(target) as new:
        new.write(content)
    missing = [part.name for part in parts if part.content is None]
    click.echo(f"{target}: {len(content):,} bytes, {len(parts) - len(missing)} files; CONTENTS.txt in it names them")
    if missing:
        click.echo(f"missing, with the reason in CONTENTS.txt: {', '.join(missing)}")


async def _collect(loaded: Loaded, clock: ServiceClock) -> tuple[list[Part], str]:
    """Return all parts, those that cannot be had with their reason; and what to know of the names in them."""
    config, folder = loaded.config, loaded.config.data_dir
    scrubber, caution = Scrubber(_secrets(config)), ""
    async with reading(config, read_run_file(config.data_dir)) as (connection, absence):

        async def facts() -> Any:
            if connection is None:
                raise MissingError(absence)
            await database.give_pseudonyms(connection, scrubber)
            return await database.facts(connection)

        async def examined() -> Any:
            return summary(await examination_of(config, clock), {})

        parts = [
            await _part("doctor.json", "What `appliance doctor` finds.", examined),
            await _part("configuration.json", "Every setting and its origin, secrets masked.", _of(_settings, loaded)),
            await _part("versions.json", "The program and everything below it.", machine.versions),
            await _part("process.json", "The running process: its services, and where each waits.", _told(config)),
            await _part("metrics.txt", "Its metrics, in the format of Prometheus.", _metrics(config)),
            await _part("postgres.json", "Sizes of tables, estimated rows, sessions that wait.", facts),
            await _part("mosquitto.txt", "The settings of its Mosquitto, without users.", _of(machine.broker, folder)),
            await _part("disk.json", "The disk of the data folder.", _of(machine.disk, folder)),
            await _part("clock.json", "Service time and the machine's clock.", _of(machine.clock, clock)),
            await _part("machine.json", "Memory, processors and limits.", _of(machine.machine)),
        ]
    if not scrubber.knows_names:
        caution = NAMELESS
    return [_scrubbed(part, scrubber) for part in parts], caution


async def _part(name: str, purpose: str, collect: Callable[[], Awaitable[Any]]) -> Part:
    """Collect one part: what it raises is the reason why it is missing, so that the others are there."""
    try:
        with trio.fail_after(PART_SECONDS):
            value = await collect()
    except trio.TooSlowError:
        return Part(name, purpose, None, f"it took longer than {PART_SECONDS:.0f} s")
    except Exception as error:  # noqa: BLE001 - whoever asks for support has a fault already: the other parts must come
        return Part(name, purpose, None, str(error).strip().partition("\n")[0] or type(error).__name__)
    return Part(name, purpose, value.encode() if isinstance(value, str) else as_json(msgspec.to_builtins(value)))


def _scrubbed(part: Part, scrubber: Scrubber) -> Part:
    """Return the part without secrets and names; JSON is freed of them text by text, so that it stays JSON."""
    reason = scrubber.text(part.reason)
    if part.content is None:
        return Part(part.name, part.purpose, None, reason)
    text = part.content.decode()
    content = as_json(scrubber.value(json.loads(text))) if part.name.endswith(".json") else scrubber.text(text).encode()
    return Part(part.name, part.purpose, content)


def _of(function: Callable[..., Any], *arguments: Any) -> Callable[[], Awaitable[Any]]:
    async def collect() -> Any:
        return await trio.to_thread.run_sync(function, *arguments)

    return collect


async def _status(config: Config) -> Mapping[str, Any]:
    try:
        return await status_socket.ask(config.data_dir / SOCKETS)
    except (FileNotFoundError, ConnectionRefusedError):
        raise MissingError(SILENT) from None
    except trio.TooSlowError:
        raise MissingError("the appliance does not answer") from None


def _told(config: Config) -> Callable[[], Awaitable[Any]]:
    async def collect() -> Any:
        return {key: value for key, value in (await _status(config)).items() if key != "metrics"}

    return collect


def _metrics(config: Config) -> Callable[[], Awaitable[Any]]:
    async def collect() -> Any:
        return (await _status(config))["metrics"]

    return collect


def _settings(loaded: Loaded) -> Mapping[str, Any]:
    return {
        "settings": {
            key: {"value": value, "from": loaded.origins[key]} for key, value in masked(loaded.config).items()
        },
        "warnings": [{"key": key, "message": message} for key, message in warnings(loaded.config)],
    }


def _secrets(config: Config) -> Iterable[str]:
    """Yield every secret of the configuration."""
    for key in FIELDS:
        value = value_of(config, key)
        if isinstance(value, Secret):
            yield value.reveal()

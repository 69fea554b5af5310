"""``appliance run``: the appliance itself."""

import os
import resource
from functools import partial

import click
import trio

from appliance import logs, supervisor
from appliance.cli import Invocation
from appliance.config.file import VARIABLE
from appliance.supervisor import Serving


@click.command()
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Run the appliance until it is stopped (SIGTERM, Ctrl+C; a second signal stops it at once)."""
    config, file = invocation.config, invocation.loaded.file
    if file is not None:  # what we start of ourselves must find the same one
        os.environ[VARIABLE] = str(file.resolve())
    logs.configure(config.log)
    _leave_no_core_files()
    file = invocation.loaded.file
    # For programs that it starts once more: they find the same configuration, whatever --config said.
    environ = os.environ if file is None else {**os.environ, "APPLIANCE_CONFIG": str(file.absolute())}
    trio.run(partial(supervisor.run, config, environ, _announce))


def _leave_no_core_files() -> None:
    """Leave no picture of our memory on a disk when we, or a child, crash: it holds keys and passwords.

    Children inherit the limit, and nobody without rights of root can raise it again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _halves(fingerprint: str) -> list[str]:
    """Return a fingerprint as two lines of 16 bytes, which fit beside the labels."""
    parts = fingerprint.split(":")
    return [":".join(parts[:16]), ":".join(parts[16:])]


def _announce(serving: Serving) -> None:
    """Print the addresses of the services and the next step."""
    lines = ["", "  The appliance is ready.", "", f"  Dashboard    {serving.web_url}"]
    lines += [f"               {address}" for address in serving.addresses if address != serving.web_url]
    if serving.set_up_url is not None:
        lines += ["", "  Set-up link  open it in a browser to start; it works once, for one hour", ""]
        lines += [f"    {serving.set_up_url}", ""]
    lines += [f"  MQTT broker  {serving.broker}"]
    if serving.mqtt_port and serving.mqtt_tls_port is not None:
        lines += [f"               {serving.mqtt_host}:{serving.mqtt_tls_port} under TLS"]
    if not serving.own_broker:
        lines += ["               its users are not managed here; `appliance device add` creates tokens for HTTP"]
    if serving.ca_fingerprint is not None:
        lines += ["", f"  Own CA       {serving.web_url}/trust says how to trust it; its SHA-256 fingerprint:"]
        lines += [f"               {half}" for half in _halves(serving.ca_fingerprint)]
    click.echo("\n".join([*lines, ""]))

"""``appliance run``: the appliance itself."""

import os
from collections.abc import Sequence
from functools import partial

import click
import trio

from appliance import logs, supervisor
from appliance.cli import Invocation
from appliance.first_start import DEVICE, TENANT
from appliance.supervisor import Serving


@click.command()
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Run the appliance until it is stopped (SIGTERM, Ctrl+C; a second one stops at once)."""
    config = invocation.config
    logs.configure(config.log)
    trio.run(partial(supervisor.run, config, os.environ, _announce))


def _announce(serving: Serving) -> None:
    """Tell the person at the console where everything is, and the next step."""
    lines = ["", "  The appliance is ready.", "", f"  Dashboard    {serving.web_url}"]
    port = serving.web_url.rpartition(":")[2]
    lines += [f"               http://{address}:{port}" for address in serving.addresses[1:]]
    lines += [f"  MQTT broker  {serving.mqtt_host}:{serving.mqtt_port}"]
    click.echo("\n".join([*lines, "", *_next_step(serving), ""]))


def _next_step(serving: Serving) -> Sequence[str]:
    """How a message is sent. Secrets are shown once: at a later start, how to make new ones."""
    first = serving.first_device
    if not serving.own_broker:
        return [
            "  The broker's users are not managed here; `appliance tenant add` and `appliance device add` make tokens."
        ]
    if first is None:
        return [
            f"  New device   appliance device add {TENANT} DEVICE",
            f"  New secrets  appliance device rotate {TENANT} {DEVICE} --now",
        ]
    where = f"-h {serving.mqtt_host} -p {serving.mqtt_port}"
    return [
        "  Next step: send a first message (user and password are shown this once)",
        "",
        f"    mosquitto_pub {where} -u {first.username} -P '{first.password}' -q 1 \\",
        f"      -t tenant/{first.username}/telemetry -m '{{\"temperature\": 21.5}}'",
    ]

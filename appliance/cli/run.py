"""``appliance run``: the appliance itself."""

import os
from functools import partial

import click
import trio

from appliance import logs, supervisor
from appliance.cli import Invocation
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
    if serving.device is not None:
        user, password = serving.device.username, serving.device.password
        lines += [
            "",
            "  Next step: send a first message",
            "",
            f"    mosquitto_pub -h {serving.mqtt_host} -p {serving.mqtt_port} -u {user} -P '{password}' -q 1 \\",
            f"      -t tenant/{user}/device/first/telemetry -m '{{\"temperature\": 21.5}}'",
        ]
    click.echo("\n".join([*lines, ""]))

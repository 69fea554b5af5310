"""``appliance simulate``: a fleet of devices on the real broker."""

import json
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import click
import trio
from cryptography import x509

from appliance import logs
from appliance.broker.clients import external_transport
from appliance.children.data_dir import read_run_file
from appliance.cli import Invocation, showing
from appliance.cli.database import running
from appliance.config import Config, Log
from appliance.devices.topics import valid_id
from appliance.errors import ApplianceError
from appliance.mqtt.transport import Tcp, Tls, TlsFiles, Transport
from appliance.runtime.addresses import LOOPBACK
from appliance.simulate.devices import Behaviour
from appliance.simulate.fleet import DEFAULT_MIX, Fleet, deal, parse_mix
from appliance.simulate.ledger import Ledger
from appliance.simulate.outcome_counts import OutcomeCounts
from appliance.simulate.publish import BrokerAddress, Publisher
from appliance.simulate.scenes import Scene
from appliance.simulate.schedule import Schedule
from appliance.tls.names import names_in
from appliance.tls.own import AUTHORITY

MOST_CONNECTIONS = 16
PROGRESS_SECONDS = 0.25
CLEAR_LINE = "\r\x1b[K"


def _mix(context: click.Context, parameter: click.Parameter, value: str | None) -> Mapping[Behaviour, float]:
    """The option ``--mix``."""
    if value is None:
        return DEFAULT_MIX
    try:
        return parse_mix(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _scenes(context: click.Context, parameter: click.Parameter, value: str | None) -> Sequence[Scene]:
    """The option ``--show``."""
    if value is None:
        return ()
    try:
        return showing.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command()
@click.option("--devices", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Size of the fleet.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1_000_000),
    help="Messages a second of the whole fleet; 0: as many as the broker accepts. Default: each device its own.",
)
@click.option(
    "--mix",
    callback=_mix,
    metavar="KIND=WEIGHT,...",
    help=f"Kinds of device. Default: {','.join(f'{kind}={weight:g}' for kind, weight in DEFAULT_MIX.items())}",
)
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Stop after this time.")
@click.option("--messages", type=click.IntRange(1), help="Stop after this many messages.")
@click.option("--tenant", default="fleet", show_default=True, help="The tenant of the devices; `make demo` creates it.")
@click.option("--host", help="The broker's address. Default: that of the appliance running on data_dir.")
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's port.")
@click.option("--username", help="The broker's user. Default: the tenant's name, which is its claim user.")
@click.option("--password", envvar="MQTT_PASSWORD", show_envvar=True, help="The password of the user.")
@click.option("--connections", type=click.IntRange(1, 1000), help="Default: one for each device, at most 16.")
@click.option("--seed", type=int, help="Seed of the random values. Default: a different one for each run.")
@click.option("--ledger", type=click.File("ab"), help="Append each acknowledged message to this file, as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option(
    "--show",
    "scenes",
    callback=_scenes,
    metavar="REASON,...|all",
    help="Instead of a fleet: provoke these refusal reasons, each at least once, and print the counts.",
)
@click.pass_obj
def command(
    invocation: Invocation,
    devices: int,
    rate: float | None,
    mix: Mapping[Behaviour, float],
    duration: float | None,
    messages: int | None,
    tenant: str,
    host: str | None,
    port: int | None,
    username: str | None,
    password: str | None,
    connections: int | None,
    seed: int | None,
    ledger: IO[bytes] | None,
    as_json: bool,
    scenes: Sequence[Scene],
) -> int:
    """Simulate a fleet of devices on the real broker, until a limit is reached or Ctrl+C.

    Kinds of device: normal, noisy (bursts above its rate), dying (battery runs down, then silence), flapping (comes
    and goes), malformed (nothing it sends can be accepted), new (each message from a device never seen).
    Ends with 1 if the broker did not acknowledge everything.

    --show needs the appliance on this machine. It creates its own tenants, called sim-..., with devices and
    subscriptions in every state, and keeps them; their messages are quarantined like any others. For STORE_REFUSED,
    a constraint is added to the telemetry table for some seconds; it affects no other rows. TOKEN_MISSING needs
    ingest.require_payload_token, UNKNOWN_TENANT ingest.require_token = false or an external broker, and
    INTERNAL_ERROR an appliance that was started with EDGE_FAILPOINT=in_a_check: the table notes what is missing.
    Ends with 1 if a reason that could be provoked was not counted.
    """
    if scenes:
        return showing.show(
            invocation, scenes, *_demo_addresses(invocation, host, port, username, password), as_json=as_json
        )
    if not valid_id(tenant):
        raise click.BadParameter("1 to 64 of A-Z a-z 0-9 . _ -, not starting with `.`", param_hint="--tenant")
    if seed is None:
        seed = secrets.randbelow(2**31)
    logs.configure(Log(level="warning"), sys.stderr)  # standard output is for the result
    broker = _broker(invocation, host, port, username or tenant, password)
    run = secrets.token_hex(3)
    fleet = Fleet(tenant, deal(mix, devices), seed=seed, run=run)
    publisher = Publisher(fleet, Schedule(rate, messages, duration))
    if ledger is not None:
        publisher.on_acknowledged = Ledger(ledger).record
    counts = trio.run(_run, publisher, broker, connections or min(devices, MOST_CONNECTIONS), run, not as_json)
    click.echo(json.dumps(_result(counts, seed), indent=2) if as_json else counts.summary())
    return 0 if counts.sent == counts.acknowledged else 1


def _demo_addresses(
    invocation: Invocation, host: str | None, port: int | None, username: str | None, password: str | None
) -> tuple[str, BrokerAddress]:
    """Return the addresses of the dashboard and the broker; an external broker's user is the configured one."""
    settings = invocation.config.broker
    if settings.url is not None and host is None:
        username, configured = username or settings.username, settings.password
        password = password or (None if configured is None else configured.reveal())
    return running(invocation.config).web_url, _broker(invocation, host, port, username or "", password)


def _broker(
    invocation: Invocation, host: str | None, port: int | None, username: str, password: str | None
) -> BrokerAddress:
    """Return where to publish: the broker of the options, or of the appliance that runs on the configured data folder.

    An external broker is reached as the appliance reaches it. Without a password the connection is anonymous, for
    brokers that allow that.
    """
    transport = None
    if host is None:
        folder = invocation.config.data_dir
        running = read_run_file(folder)
        if running is None:
            raise ApplianceError(f"no appliance is ready on {folder}: start one (appliance run), or give --host")
        host = LOOPBACK.get(running.mqtt_host, running.mqtt_host)
        if port is None and invocation.config.broker.url is not None:
            transport = external_transport(invocation.config.broker)
        tls_port = running.mqtt_tls_port
        if tls_port is not None and (port == tls_port or (port is None and not running.mqtt_port)):
            transport = _under_tls(invocation.config, host, tls_port)
        port = port or running.mqtt_port
    return BrokerAddress(host, port or 1883, username if password is not None else None, password, transport)


def _under_tls(config: Config, host: str, port: int) -> Transport:
    """Return the way to an embedded broker under TLS. It has the certificate that we know, whatever it is called."""
    file = config.broker.certificate_file
    if file is None:
        return Tls(Tcp(host, port), TlsFiles(config.data_dir / "tls" / AUTHORITY), host)
    try:
        names = names_in(x509.load_pem_x509_certificate(file.read_bytes())).texts
    except (OSError, ValueError) as error:
        raise ApplianceError(f"broker.certificate_file: {file} cannot be read: {error}") from None
    return Tls(Tcp(host, port), TlsFiles(file), (*names, host)[0].replace("*", "any"))


async def _run(publisher: Publisher, broker: BrokerAddress, connections: int, run: str, shown: bool) -> OutcomeCounts:
    """Run with progress on a terminal. The first Ctrl+C ends the run cleanly, the second at once."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, publisher, nursery.cancel_scope)
        with _progress(nursery, publisher, shown):
            await publisher.run(broker, connections, run)
        nursery.cancel_scope.cancel()
    return publisher.counts


async def _stop_on_signal(publisher: Publisher, everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        first = True
        async for _ in signals:
            if not first:
                everything.cancel()
            first = False
            publisher.stop()


@contextmanager
def _progress(nursery: trio.Nursery, publisher: Publisher, shown: bool) -> Iterator[None]:
    """Show one line on standard error, rewritten during the run and erased after it."""
    terminal = sys.stderr
    if not shown or not terminal.isatty():
        yield
        return

    async def rewrite() -> None:
        while True:
            terminal.write(f"{CLEAR_LINE}{publisher.look().progress()}")
            terminal.flush()
            await trio.sleep(PROGRESS_SECONDS)

    nursery.start_soon(rewrite)
    try:
        yield
    finally:
        terminal.write(CLEAR_LINE)
        terminal.flush()


def _result(counts: OutcomeCounts, seed: int) -> dict[str, object]:
    return {
        "seconds": round(counts.seconds, 3),
        "sent": counts.sent,
        "acknowledged": counts.acknowledged,
        "refused": dict(counts.refused),
        "unanswered": counts.open,
        "rate": round(counts.rate, 1),
        "behaviours": {behaviour.value: count for behaviour, count in counts.spoken.items()},
        "expected_refusals": {reason.value: count for reason, count in counts.expected.items()},
        "seed": seed,
    }

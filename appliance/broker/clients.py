"""The clients that the appliance connects to its broker: the durable session, and one that only reads statistics."""

from collections.abc import Callable, Mapping
from functools import partial
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext
from typing import TypedDict

from appliance.backoff import Backoff
from appliance.broker.accounts import PROBE_USER
from appliance.broker.entrance import Entrance, Question
from appliance.children.mosquitto import Mosquitto
from appliance.clock import Clock
from appliance.config import Broker, Config
from appliance.mqtt.client import Client
from appliance.mqtt.transport import Tcp, Tls, Transport, Unix, transport_to

SUBSCRIPTION = "tenant/+/device/+/+"
SESSION_SECONDS = 14 * 86_400
"""How long the broker keeps our session and its queue while we are away."""
KEEP_ALIVE_SECONDS = 30
"""Seconds of silence after which we ask whether the broker is still there."""
LONGEST_RETRY_SECONDS = 5.0
"""Seconds between two tries to reach a broker elsewhere, at most."""
LONGEST_OWN_RETRY_SECONDS = 0.25
"""The same for our own, where a try is a system call: while devices are let in and we are not there, what they send is
in its memory alone."""

SWEEP_WINDOW = 50
"""Retained messages that the broker sends before the first of them is acknowledged."""
PROBE_CONNECT_SECONDS = 3.0
"""Seconds that a connection of the probe may take."""


class _Address(TypedDict):
    """Where and as whom a client connects; see :class:`Client`."""

    transport: Transport
    username: str | None
    password: str | None


def session_client(
    config: Config, identifier: str, broker: Mosquitto | None, clock: Clock, question: Question | None
) -> Client:
    """Return the client of the durable session: a fixed secret id, kept by the broker while we are away.

    ``question``: what has to be asked of a broker elsewhere before it connects.
    """
    longest = LONGEST_RETRY_SECONDS if broker is None else LONGEST_OWN_RETRY_SECONDS
    address = _address(config, broker)
    if question is not None:
        address["transport"] = Entrance(address["transport"], question)
    return Client(
        **address,
        identifier=identifier,
        session_expiry_interval=SESSION_SECONDS,
        keep_alive=KEEP_ALIVE_SECONDS if broker is not None else _keep_alive_elsewhere(config),
        receive_max=config.ingest.receive_max,
        keep_trying=True,
        backoff=Backoff(first=0.05, maximum=longest),
        clock=clock,
    )


def _keep_alive_elsewhere(config: Config) -> int:
    """Return the seconds of silence after which a broker elsewhere is asked: the watchdog hears nothing else of it."""
    return min(KEEP_ALIVE_SECONDS, max(1, int(config.delivery.heartbeat_seconds / 2)))


def statistics_client(config: Config, broker: Mosquitto | None) -> Client:
    """Return a client without a lasting session, for what the broker says of itself."""
    return Client(
        **_address(config, broker),
        clean_start=True,
        keep_alive=KEEP_ALIVE_SECONDS,
        keep_trying=True,
        backoff=Backoff(first=0.05, maximum=LONGEST_RETRY_SECONDS),
    )


def sweep_client(config: Config, broker: Mosquitto) -> Client:
    """Return a client for one look through the retained messages: it is sent few at a time."""
    return Client(**_address(config, broker), clean_start=True, reconnect=False, receive_max=SWEEP_WINDOW)


def probe_clients(broker: Mosquitto, host: str) -> Mapping[str, Callable[[], Client]]:
    """Return what makes a client of the probe's user for each way in at ``host``, by who comes by it."""
    listener, ways = broker.devices, dict[str, Transport]()
    if listener.plain:
        ways["devices"] = Tcp(host, listener.port)
    if listener.tls_port is not None:
        ways["devices under TLS"] = Tls(Tcp(host, listener.tls_port), _any_certificate(), host)
    return {name: partial(_probe_client, broker, transport) for name, transport in ways.items()}


def _any_certificate() -> SSLContext:
    """Return a context that takes any certificate: it is this machine that answers on its own port.

    Nothing is said of the certificate by the probe: the machine's clock may be wrong, and one by file may be of an
    authority that this machine does not know.
    """
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, CERT_NONE
    return context


def _probe_client(broker: Mosquitto, transport: Transport) -> Client:
    return Client(
        transport=transport,
        username=PROBE_USER,
        password=broker.probe_password,
        clean_start=True,
        reconnect=False,
        connect_timeout=PROBE_CONNECT_SECONDS,
    )


def external_transport(broker: Broker) -> Transport:
    """Return the way to the external broker."""
    address = broker.address()
    assert address is not None  # noqa: S101 - for the type checker; who asks has an external broker
    return transport_to(address, broker.tls_files())


def _address(config: Config, broker: Mosquitto | None) -> _Address:
    if broker is not None:
        endpoint = broker.endpoint
        return {"transport": Unix(str(endpoint.socket)), "username": endpoint.username, "password": endpoint.password}
    settings = config.broker
    return {
        "transport": external_transport(settings),
        "username": settings.username,
        "password": None if settings.password is None else settings.password.reveal(),
    }

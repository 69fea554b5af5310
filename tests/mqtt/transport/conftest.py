"""One broker for the module on TCP, a Unix socket and TLS, and a client's way to it over each transport."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from appliance.mqtt.transport import TlsFiles, Transport, transport_to
from appliance.mqtt.transport.address import Address, parse
from tests.support.certificates import Authority
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.websocket_bridge import Cut, fragments, packets, single_bytes, websocket_bridge, whole


class Secured(NamedTuple):
    """A broker with TLS, and the CA that its clients have to trust."""

    server: MosquittoServer
    authority: Authority
    files: TlsFiles


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker on TCP, a Unix socket and TLS, of a CA of its own."""
    authority = Authority()
    ca = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.write_text(authority.pem)
    with MosquittoServer(unix=True, certificate=authority.certificate("localhost", "127.0.0.1")) as server:
        yield Secured(server, authority, TlsFiles(ca_file=ca))


CUTS: dict[str, Cut | None] = {"single bytes": single_bytes, "fragments": fragments, "whole": whole, "packets": None}
KINDS = ("tcp", "unix", "tls", "ws", "wss", "ws in single bytes", "ws in fragments", "ws in packets")


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest, secured: Secured) -> AsyncIterator[Transport]:
    """The way to the broker; a WebSocket leads over a server between."""
    kind: str = request.param
    server = secured.server
    async with AsyncExitStack() as stack:
        if kind.startswith("ws"):
            cut = CUTS[kind.partition(" in ")[2] or "whole"]
            context = secured.authority.certificate("localhost").server_context() if kind == "wss" else None
            bridge = websocket_bridge(server.port, cut=(lambda: cut or packets()), context=context)
            port = await stack.enter_async_context(bridge)
            address = Address(
                "wss" if kind == "wss" else "ws", "localhost" if kind == "wss" else "127.0.0.1", port, "/mqtt"
            )
        else:
            ports = {"tcp": f"mqtt://127.0.0.1:{server.port}", "tls": f"mqtts://127.0.0.1:{server.tls_port}"}
            address = parse(ports.get(kind) or f"unix://{Path(server.unix_socket or '')}")
        yield transport_to(address, secured.files)

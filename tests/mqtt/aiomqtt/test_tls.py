"""Claims about TLS with aiomqtt's interface, against a real Mosquitto."""

import ssl
from collections.abc import Iterator

import pytest
import trio

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.certificates import Authority
from tests.support.mosquitto_server import MosquittoServer

AUTHORITY = Authority()


@pytest.fixture(scope="module")
def server() -> Iterator[MosquittoServer]:
    """A broker that speaks TLS on a port of its own."""
    with MosquittoServer(certificate=AUTHORITY.certificate("127.0.0.1")) as server:
        yield server


async def test_a_context_that_trusts_the_broker_lets_in(server: MosquittoServer) -> None:
    context = ssl.create_default_context(cadata=AUTHORITY.pem)
    async with Client(hostname=server.host, port=server.tls_port, ssl_context=context) as client:
        await client.publish("t", b"")


async def test_a_certificate_that_is_not_trusted_is_the_error_of_tls(server: MosquittoServer) -> None:
    context = ssl.create_default_context()
    client = Client(hostname=server.host, port=server.tls_port, ssl_context=context)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        await client.__aenter__()
    await client.__aexit__(None, None, None)


async def test_a_client_without_tls_gets_no_connection_where_tls_is_spoken(server: MosquittoServer) -> None:
    client = Client(hostname=server.host, port=server.tls_port)
    with trio.fail_after(30), pytest.raises(ConnectError):
        await client.__aenter__()
    await client.__aexit__(None, None, None)

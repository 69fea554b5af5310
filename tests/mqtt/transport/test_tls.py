"""TLS to the broker: whom it trusts, what it says when it does not, and how it ends."""

import gc
import ssl
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from mqtt5 import ConnAckPacket

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from appliance.mqtt.transport import Tcp, Tls, TlsFileError, TlsFiles, Transport
from appliance.mqtt.transport.causes import reason
from tests.mqtt.transport.conftest import Secured
from tests.support.certificates import Authority, Certificate
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.opening import opened
from tests.support.mqtt.scripted import qos1, written
from tests.support.scripted_server import scripted_server

RECORDS = 300
HOST = "127.0.0.1"


def to(port: int, authority: Authority, name: str = "localhost") -> Tls:
    """TLS to a port of loopback, trusting one CA."""
    return Tls(Tcp(HOST, port), ssl.create_default_context(cadata=authority.pem), name)


async def refusal(transport: Transport) -> str:
    """Return why a client cannot connect."""
    with trio.fail_after(30), pytest.raises(ConnectError) as caught:
        async with Client(transport=transport):
            pass
    return str(caught.value)


async def test_a_ca_that_is_not_known_is_named_as_what_to_mend(secured: Secured) -> None:
    why = await refusal(Tls(Tcp(HOST, secured.server.tls_port), TlsFiles(), "localhost"))
    assert f"{HOST}:{secured.server.tls_port}: TLS failed: the broker's certificate is refused: " in why
    assert why.endswith("; if its CA is one of your own, name that CA")
    assert "is refused: " in await refusal(to(secured.server.tls_port, Authority()))


async def test_a_certificate_for_another_name_is_refused_with_that_name(secured: Secured) -> None:
    why = await refusal(to(secured.server.tls_port, secured.authority, "broker.example"))
    assert why.endswith("refused: Hostname mismatch, certificate is not valid for 'broker.example'")
    why = await refusal(to(secured.server.tls_port, secured.authority, "127.0.0.2"))
    assert why.endswith("IP address mismatch, certificate is not valid for '127.0.0.2'")


@pytest.mark.parametrize("name", ["localhost", "localhost.", "127.0.0.1"])
async def test_every_name_of_the_certificate_counts(secured: Secured, name: str) -> None:
    async with Client(transport=to(secured.server.tls_port, secured.authority, name)) as client:
        assert client.is_connected


async def test_the_memory_of_a_connection_is_free_when_it_ends_without_a_collection(secured: Secured) -> None:
    def in_memory() -> int:
        return sum(isinstance(one, ssl.SSLObject) for one in gc.get_objects())

    gc.collect()
    before = in_memory()
    gc.disable()
    try:
        async with Client(transport=to(secured.server.tls_port, secured.authority)):
            assert in_memory() == before + 1
        assert in_memory() == before
    finally:
        gc.enable()


async def test_an_expired_certificate_is_refused() -> None:
    authority = Authority()
    with MosquittoServer(certificate=authority.certificate("localhost", expired=True)) as server:
        assert (await refusal(to(server.tls_port, authority))).endswith("refused: certificate has expired")


async def test_a_broker_that_demands_a_certificate_gets_ours_or_says_what_is_missing(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority()
    ca = tmp_path / "ca.pem"
    ca.write_text(authority.pem)
    with MosquittoServer(certificate=authority.certificate("localhost"), client_ca=clients.pem) as server:

        def presenting(certificate: Certificate | None) -> Tls:
            files = (None, None) if certificate is None else certificate.files(tmp_path)
            return Tls(Tcp(HOST, server.tls_port), TlsFiles(ca, *files), "localhost")

        async with Client(transport=presenting(clients.certificate("appliance"))) as client:
            assert client.is_connected
        # What the broker says comes after the handshake; its reset of the connection may overtake it.
        overtaken = ("Connection reset by peer", "Broken pipe", "closed the connection")
        missing, foreign = await refusal(presenting(None)), await refusal(presenting(Authority().certificate("other")))
        assert any(words in missing for words in ("demands a client certificate", *overtaken))
        assert any(words in foreign for words in ("of a CA that the broker knows", *overtaken))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the broker demands a client certificate, and none was given"),
        ("TLSV1_ALERT_UNKNOWN_CA", "our client certificate is not of a CA that the broker knows"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our client certificate has expired"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "the broker speaks no TLS of version 1.2 or newer"),
        ("WRONG_VERSION_NUMBER", "what answers does not speak TLS: is it the port for TLS?"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "tlsv1 alert internal error"),
    ],
)
def test_what_openssl_reports_is_told_in_words(name: str, words: str) -> None:
    error, broken = ssl.SSLError(1, f"[SSL: {name}] and so on (_ssl.c:2580)"), trio.BrokenResourceError()
    error.reason = name
    broken.__cause__ = error
    assert reason(error) == reason(broken) == f"TLS failed: {words}"


async def test_the_wrong_port_is_asked_about(secured: Secured) -> None:
    assert "is it the port for TLS?" in await refusal(to(secured.server.port, secured.authority))
    assert "does it speak MQTT 5 on this port" in await refusal(Tcp(HOST, secured.server.tls_port))

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")
        await stream.receive_some()

    async with scripted_server(greet) as port:
        assert "is it the port for TLS?" in await refusal(to(port, secured.authority))


async def test_a_name_that_no_certificate_can_have_is_an_error_like_the_others(secured: Secured) -> None:
    assert "cannot be that of a certificate" in await refusal(to(secured.server.tls_port, secured.authority, ".a"))


@pytest.mark.parametrize("closes_properly", [True, False])
async def test_tls_that_ends_with_or_without_a_goodbye_loses_nothing_that_came_before(closes_properly: bool) -> None:
    authority = Authority()
    server_context = authority.certificate("localhost").server_context()

    async def serve(stream: trio.SocketStream) -> None:
        encrypted = trio.SSLStream(stream, server_context, server_side=True)
        await encrypted.receive_some()
        await encrypted.send_all(written(ConnAckPacket(), qos1(1, b"before the end")))
        if closes_properly:
            await encrypted.aclose()

    async with scripted_server(serve) as port:
        backoff = Backoff(first=0.01, maximum=0.02)
        async with Client(transport=to(port, authority), keep_trying=True, backoff=backoff) as client:
            with trio.fail_after(60):
                batch = await anext(client.batches())
                assert [packet.payload for packet in batch.packets] == [b"before the end"]
                assert (await client.disconnected()).detail == "the broker closed the connection"
                await client.connected()


async def test_tls_that_fails_is_tried_again_until_the_files_are_mended(tmp_path: Path) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    with MosquittoServer(certificate=authority.certificate("localhost")) as server:
        transport = Tls(Tcp(HOST, server.tls_port), TlsFiles(ca_file=ca), "localhost")
        backoff = Backoff(first=0.01, maximum=0.02)
        async with Client(transport=transport, keep_trying=True, backoff=backoff) as client:
            with trio.fail_after(60):
                while client.link.detail != f"cannot read {ca}: No such file or directory":
                    await trio.sleep(0.01)
                ca.write_text(Authority().pem)
                while "the broker's certificate is refused" not in client.link.detail:
                    await trio.sleep(0.01)
                ca.write_text(authority.pem)
                await client.connected()


async def test_all_records_that_have_come_are_read_at_once() -> None:
    authority = Authority()
    context = authority.certificate("localhost").server_context()

    async def serve(stream: trio.SocketStream) -> None:
        server = trio.SSLStream(stream, context, server_side=True)
        assert await server.receive_some() == b"go"
        for number in range(RECORDS):
            await server.send_all(b"%03d" % number)
        await server.receive_some()

    async with scripted_server(serve) as port:
        transport = to(port, authority)
        usual = transport.context.sslobject_class if isinstance(transport.context, ssl.SSLContext) else None
        async with opened(transport) as stream:
            await stream.send_all(b"go")
            parts = [await stream.receive_some(65536)]
            with trio.fail_after(30):
                while sum(map(len, parts)) < 3 * RECORDS:
                    await trio.sleep(0.05)  # what comes meanwhile lies with the kernel, or in few chunks
                    parts.append(await stream.receive_some(65536))
        assert b"".join(parts) == b"".join(b"%03d" % number for number in range(RECORDS))
        assert len(parts) < RECORDS / 10
        assert isinstance(transport.context, ssl.SSLContext)
        assert transport.context.sslobject_class is usual


async def test_a_record_that_is_no_record_ends_the_stream_after_those_before_it() -> None:
    authority = Authority()
    context = authority.certificate("localhost").server_context()

    async def serve(stream: trio.SocketStream) -> None:
        server = trio.SSLStream(stream, context, server_side=True)
        assert await server.receive_some() == b"go"
        await server.send_all(b"good")
        await stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        await stream.receive_some()

    async with scripted_server(serve) as port, opened(to(port, authority)) as stream:
        await stream.send_all(b"go")
        assert await stream.receive_some(4) == b"good"
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(4)


# The files


def written_to(path: Path, text: str) -> Path:
    """Write a file and return its path."""
    path.write_text(text)
    return path


def encrypted(certificate: Certificate) -> str:
    """Return the key of a certificate under a passphrase."""
    key = serialization.load_pem_private_key(certificate.key_pem.encode(), None)
    protection = serialization.BestAvailableEncryption(b"passphrase")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection).decode()


def test_files_that_cannot_be_used_are_named_with_what_to_do(tmp_path: Path) -> None:
    authority = Authority()
    one, other = authority.certificate("one"), authority.certificate("other")
    ca = written_to(tmp_path / "ca.pem", authority.pem)
    certificate = written_to(tmp_path / "one.pem", one.pem)
    key = written_to(tmp_path / "one.key", one.key_pem)
    both = written_to(tmp_path / "both.pem", one.pem + one.key_pem)
    foreign = written_to(tmp_path / "other.key", other.key_pem)
    protected = written_to(tmp_path / "protected.key", encrypted(one))
    garbled = written_to(tmp_path / "garbled.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
    text = written_to(tmp_path / "text", "nothing")
    bad_key = written_to(tmp_path / "bad.key", "-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    for files in (TlsFiles(ca, certificate, key), TlsFiles(None, both), TlsFiles(certificate), TlsFiles()):
        context = files.context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for files, part, words in (
        (TlsFiles(tmp_path / "gone"), "ca_file", f"cannot read {tmp_path}/gone: No such file or directory"),
        (TlsFiles(tmp_path), "ca_file", f"{tmp_path} is not a regular file"),
        (TlsFiles(large), "ca_file", "is larger than 4194304 bytes"),
        (TlsFiles(text), "ca_file", "holds no certificate in PEM"),
        (TlsFiles(key), "ca_file", "holds no certificate"),
        (TlsFiles(garbled), "ca_file", "holds no certificate that can be read"),
        (TlsFiles(None, text), "certificate_file", "holds no certificate in PEM"),
        (
            TlsFiles(None, certificate),
            "certificate_file",
            "holds no private key in PEM: -----BEGIN PRIVATE KEY-----; name",
        ),
        (TlsFiles(None, certificate, certificate), "key_file", "holds no private key in PEM"),
        (TlsFiles(None, certificate, foreign), "key_file", "other.key is not the key of the certificate in"),
        (TlsFiles(None, certificate, protected), "key_file", "is encrypted; write the key without a passphrase"),
        (TlsFiles(None, certificate, bad_key), "key_file", "cannot be used"),
        (TlsFiles(None, None, key), "key_file", "needs a certificate too"),
    ):
        with pytest.raises(TlsFileError) as caught:
            files.context()
        assert words in str(caught.value)
        assert caught.value.part == part

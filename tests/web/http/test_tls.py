"""TLS on the dashboard's port: the handshake and its limits, what goes on while a certificate is exchanged, the end."""

import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from trio_websocket import WebSocketConnection, wrap_client_stream

from appliance.web.access.auth import OPEN, allow
from appliance.web.http import stream as byte_stream
from appliance.web.http.cookies import SESSION
from appliance.web.http.hardening import MOST_TURNED_AWAY, HostPolicy, RequestLimits
from appliance.web.http.tls import HandshakeFailures
from tests.support.busy import within
from tests.support.certificates import Authority
from tests.support.web.serving import Served, closed_with, encoded, read_all, without_database
from tests.support.web.tls import FileCertificates

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
ONE = HEAD + b"Connection: close\r\n\r\n"
BRIEF = RequestLimits(drain_time=0.3)
SECURITY = "strict-transport-security"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def certificates(authority: Authority, tmp_path: Path) -> FileCertificates:
    return FileCertificates(authority, tmp_path)


async def handshake(
    served: Served, context: ssl.SSLContext, name: str = "localhost"
) -> "trio.SSLStream[trio.SocketStream]":
    """A connection over TLS that is through its handshake."""
    stream = trio.SSLStream(await served.connect(), context, server_hostname=name)
    try:
        with trio.fail_after(5):
            await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def ask(served: Served, context: ssl.SSLContext, request: bytes = ONE) -> bytes:
    """Everything that comes for a request; a server that closes without close_notify fails the test."""
    async with await handshake(served, context) as stream:
        await stream.send_all(request)
        return await read_to_the_end(stream)


async def read_to_the_end(stream: "trio.SSLStream[trio.SocketStream]") -> bytes:
    """All until the close_notify of the server; raises when it closes without."""
    received = bytearray()
    with trio.fail_after(5):
        while chunk := await stream.receive_some():
            received += chunk
    return bytes(received)


@asynccontextmanager
async def socket_over_tls(served: Served, context: ssl.SSLContext) -> AsyncIterator[WebSocketConnection]:
    """The live WebSocket as a page opens it over TLS."""
    headers = [("Origin", served.url), ("Cookie", f"__Host-{SESSION.name}=x")]
    async with await handshake(served, context) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(
            nursery, stream, f"127.0.0.1:{served.port}", "/live?page=overview", extra_headers=encoded(headers)
        )
        nursery.cancel_scope.cancel()


def leaf_of(stream: "trio.SSLStream[trio.SocketStream]") -> bytes:
    """The certificate that the server showed."""
    shown = stream.getpeercert(binary_form=True)
    assert isinstance(shown, bytes)
    return shown


async def test_one_port_speaks_tls_and_plain_http(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates) as served:
        over_tls = await ask(served, certificates.client())
        assert over_tls.startswith(b"HTTP/1.1 200")
        assert (await served.exchange(ONE)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_what_is_older_than_tls_1_2_is_refused(certificates: FileCertificates, version: ssl.TLSVersion) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = old.maximum_version = version
    async with without_database(certificates=certificates) as served:
        with pytest.raises(trio.BrokenResourceError) as refused:
            await handshake(served, old)
    assert "alert protocol version" in str(refused.value.__cause__)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_http_1_1_is_agreed_on_and_nothing_is_compressed(
    certificates: FileCertificates, version: ssl.TLSVersion
) -> None:
    context = certificates.client()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with without_database(certificates=certificates) as served, await handshake(served, context) as stream:
        assert (stream.selected_alpn_protocol(), stream.compression()) == ("http/1.1", None)


async def test_an_endless_handshake_ends_and_its_place_is_free(certificates: FileCertificates) -> None:
    limits = RequestLimits(handshake_time=0.2, connections=1)
    async with without_database(certificates=certificates, limits=limits) as served:
        for begin in (b"", b"\x16\x03\x01\x40\x00\x01"):
            async with await served.connect() as slow:
                await slow.send_all(begin)
                assert await read_all(slow, seconds=20) == b""
            await served.places_free()


def tls_objects() -> int:
    """The number of TLS connections of a server that are in memory."""
    return sum(isinstance(one, ssl.SSLObject) and one.server_side for one in gc.get_objects())


async def test_the_memory_of_a_connection_is_free_when_it_ends_without_a_collection(
    certificates: FileCertificates,
) -> None:
    limits = RequestLimits(handshake_time=0.2, connections=1)
    async with without_database(certificates=certificates, limits=limits) as served:
        gc.collect()
        before = tls_objects()
        gc.disable()
        try:
            assert (await ask(served, certificates.client())).startswith(b"HTTP/1.1 200")
            await served.places_free()
            for begin in (b"\x16\x03\x01\x40\x00\x01", b"\x16\x03\x01\x00\x05hello"):  # half a hello, and none
                async with await served.connect() as bad:
                    await bad.send_all(begin)
                    await read_all(bad, seconds=20)
                await served.places_free()
            assert tls_objects() == before
        finally:
            gc.enable()


async def test_a_handshake_holds_its_place_and_the_next_is_answered_in_its_own_language(
    certificates: FileCertificates,
) -> None:
    limits = RequestLimits(handshake_time=30, connections=1)
    async with without_database(certificates=certificates, limits=limits) as served, await served.connect() as first:
        await first.send_all(b"\x16\x03")
        with trio.fail_after(5):
            while (answer := await served.exchange(ONE)).startswith(b"HTTP/1.1 200"):
                pass
        assert answer.startswith(b"HTTP/1.1 503")
        assert await served.exchange(b"\x16\x03\x01\x00\x05hello") == b""


async def test_a_flood_of_silent_connections_holds_few_files_besides_its_places(
    certificates: FileCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_stream, "GLANCE", 60.0)
    limits = RequestLimits(handshake_time=60, connections=1)
    async with without_database(certificates=certificates, limits=limits) as served, AsyncExitStack() as opened:
        for _ in range(1 + MOST_TURNED_AWAY):
            await opened.enter_async_context(await served.connect())
        assert await served.exchange(b"") == b"", "one more is closed without an answer"


ALERT = b"\x15"
"""The first byte of an alert of TLS."""


async def test_a_flood_of_garbage_is_one_line_of_the_log(certificates: FileCertificates) -> None:
    with structlog.testing.capture_logs() as lines:
        async with without_database(certificates=certificates) as served:
            for _ in range(20):
                assert (await served.exchange(b"\x16\x03\x01\x00\x05hello\r\n\r\n")).startswith(ALERT)
    (line,) = [line for line in lines if "handshake" in line["event"]]
    assert (line["log_level"], line["count"], line["last_from"]) == ("info", 1, "127.0.0.1")
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]


async def test_the_next_line_says_how_many_there_were(autojump_clock: object) -> None:
    del autojump_clock
    failures = HandshakeFailures()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            failures.note("192.0.2.1", "one")
        await trio.sleep(61)
        failures.note("192.0.2.2", "other")
    assert [(line["count"], line["last_reason"]) for line in lines] == [(1, "one"), (3, "other")]


def says_why(port: int) -> None:
    """Refuse the certificate with an alert, as browsers do; Trio's client closes without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as tcp:
        ssl.create_default_context().wrap_socket(tcp, server_hostname="localhost").close()


async def test_a_client_without_the_ca_is_no_error(certificates: FileCertificates) -> None:
    with structlog.testing.capture_logs() as lines:
        async with without_database(certificates=certificates) as served:
            with pytest.raises(ssl.SSLCertVerificationError):
                await trio.to_thread.run_sync(says_why, served.port)
            with trio.fail_after(5):
                while not any("handshake" in line["event"] for line in lines):
                    await trio.sleep(0.01)
    (line,) = [line for line in lines if "handshake" in line["event"]]
    assert "UNKNOWN_CA" in line["last_reason"]


async def test_a_new_certificate_is_shown_and_open_connections_go_on(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates) as served:
        client = certificates.client()
        async with await handshake(served, client) as kept, socket_over_tls(served, client) as page:
            await page.get_message()
            certificates.renew("localhost", "127.0.0.1", "192.0.2.77")
            async with await handshake(served, client) as fresh:
                assert leaf_of(fresh) != leaf_of(kept)
            await kept.send_all(HEAD + b"\r\n")
            assert (await kept.receive_some()).startswith(b"HTTP/1.1 200")
            await page.ping()
            assert page.closed is None


async def test_a_certificate_with_another_type_of_key_replaces_the_old_one(
    certificates: FileCertificates, authority: Authority
) -> None:
    async with without_database(certificates=certificates) as served:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificates.renew(certificate=authority.certificate("localhost", key=key))
        async with await handshake(served, certificates.client()) as stream:
            assert (stream.cipher() or ("",))[0].startswith("TLS_")
            pem = ssl.DER_cert_to_PEM_cert(leaf_of(stream))
        assert pem.strip() == authority.certificate("localhost", key=key).pem.strip()


async def test_a_certificate_that_does_not_fit_its_key_is_refused_and_the_old_one_goes_on(
    certificates: FileCertificates, authority: Authority, tmp_path: Path
) -> None:
    async with without_database(certificates=certificates) as served:
        before = certificates.web
        assert before is not None
        async with await handshake(served, certificates.client()) as stream:
            shown = leaf_of(stream)
        half = tmp_path / "half.pem"
        half.write_text(before.chain_file.read_text()[:300])
        other = tmp_path / "other.pem"
        other.write_text(authority.certificate("other.example").pem)
        with structlog.testing.capture_logs() as lines:
            for chain in (half, other, tmp_path / "none.pem"):
                certificates.show(chain, before.key_file)
                async with await handshake(served, certificates.client()) as stream:
                    assert leaf_of(stream) == shown
        assert [line["log_level"] for line in lines if line["log_level"] != "debug"] == ["error"] * 3


async def test_a_certificate_that_could_not_be_loaded_is_tried_again_at_the_next_handshake(
    certificates: FileCertificates, authority: Authority, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    chain, key_file = authority.certificate("localhost", key=key).files(tmp_path)
    aside = chain.rename(tmp_path / "aside.pem")
    async with without_database(certificates=certificates) as served:
        certificates.show(chain, key_file, ("localhost",))
        async with await handshake(served, certificates.client()) as stream:
            before = leaf_of(stream)
        aside.rename(chain)
        async with await handshake(served, certificates.client()) as stream:
            assert leaf_of(stream) != before


async def test_each_name_of_the_certificate_is_answered_to_from_the_moment_it_is_there(
    certificates: FileCertificates,
) -> None:
    async with without_database(certificates=certificates) as served:

        async def status(host: bytes) -> bytes:
            answer = await ask(served, certificates.client(), ONE.replace(b"localhost", host))
            return answer[9:12]

        assert await status(b"edge.example") == b"200"
        assert await status(b"new.example:8443") == b"421"
        certificates.renew("localhost", "new.example")
        assert await status(b"new.example:8443") == b"200"
        assert await status(b"edge.example") == b"421"


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("a.farm.example", True),
        ("farm.example", False),
        ("b.a.farm.example", False),
        (".farm.example", False),
        ("8.8.8.8", True),
        ("[2001:DB8:0::1]", True),
        ("9.9.9.9", False),
    ],
)
def test_wildcards_and_addresses_of_a_certificate_are_names_too(host: str, *, admitted: bool) -> None:
    policy = HostPolicy(frozenset()).with_names(["*.Farm.example", "8.8.8.8", "2001:db8::1"])
    assert policy.admits(host, "127.0.0.1") is admitted


@pytest.mark.parametrize("own", [True, False])
async def test_browsers_are_told_to_insist_on_tls_only_with_a_certificate_that_they_trust(
    authority: Authority, tmp_path: Path, *, own: bool
) -> None:
    certificates = FileCertificates(authority, tmp_path, own=own)
    async with without_database(certificates=certificates) as served:
        over_tls = (await ask(served, certificates.client())).lower()
        refused = (await ask(served, certificates.client(), ONE.replace(b"localhost", b"evil.com"))).lower()
        plain = (await served.exchange(ONE)).lower()
    expected = b"" if own else b"\r\nstrict-transport-security: max-age=31536000\r\n"
    assert all((SECURITY.encode() in answer) is (not own) and expected in answer for answer in (over_tls, refused))
    assert SECURITY.encode() not in plain


async def test_the_drain_closes_live_sockets_and_says_goodbye_to_idle_connections(
    certificates: FileCertificates,
) -> None:
    async with without_database(certificates=certificates) as served:
        client = certificates.client()
        async with (
            socket_over_tls(served, client) as page,
            await handshake(served, client) as idle,
            await served.connect() as silent,
            await served.connect() as half_way,
        ):
            await half_way.send_all(b"\x16\x03\x01")
            await page.get_message()
            await idle.send_all(HEAD + b"\r\n")
            while not (await idle.receive_some()).endswith(b"}"):
                pass
            began = trio.current_time()
            served.stop()
            assert await closed_with(page) == 1001
            assert await idle.receive_some() == b"", "a close_notify, or this raises"
            assert await read_all(silent) == await read_all(half_way) == b""
            with trio.fail_after(2):
                await served.stopped.wait()
            assert trio.current_time() - began < within(1)


async def test_a_peer_that_does_not_read_is_cut_off_without_a_goodbye(certificates: FileCertificates) -> None:
    limits = RequestLimits(send_time=0.3, connections=1)
    async with without_database(certificates=certificates, limits=limits) as served:

        @served.app.get("/static/large")
        @allow(OPEN)
        async def large() -> bytes:
            return bytes(20_000_000)

        stuck = await handshake(served, certificates.client())
        await stuck.send_all(b"GET /static/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await served.places_free()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_the_end(stuck)  # a cut answer must not look whole
        await trio.aclose_forcefully(stuck)


async def test_a_peer_that_does_not_read_does_not_hold_the_drain(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates, limits=BRIEF) as served:
        asked = trio.Event()

        @served.app.get("/static/large")
        @allow(OPEN)
        async def large() -> bytes:
            asked.set()
            return bytes(20_000_000)

        stuck = await handshake(served, certificates.client())
        await stuck.send_all(b"GET /static/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        served.stop()
        with trio.fail_after(2):
            await served.stopped.wait()
        await trio.aclose_forcefully(stuck)


async def test_a_large_answer_arrives_whole(certificates: FileCertificates) -> None:
    content = bytes(range(256)) * 12_000
    async with without_database(certificates=certificates) as served:

        @served.app.get("/static/large")
        @allow(OPEN)
        async def large() -> bytes:
            return content

        answer = await ask(served, certificates.client(), ONE.replace(b"/healthz", b"/static/large"))
        assert answer.partition(b"\r\n\r\n")[2] == content


def test_nobody_can_renegotiate(certificates: FileCertificates) -> None:
    """Each would cost the server a handshake within one connection, whatever the limits of connections."""
    assert certificates.tls is not None
    options = certificates.tls.context.options
    assert options & ssl.OP_NO_RENEGOTIATION
    assert options & ssl.OP_NO_COMPRESSION

"""Whatever a receiver does, a try ends in time, reads a bounded answer, and has the specified outcome."""

import contextlib
import socket
import ssl
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trio

from appliance.delivery.outgoing.http import HttpRequest
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.http_outcome import MAX_RETRY_AFTER, post
from appliance.delivery.senders.sender import ANSWER_BYTES, Outcome, Verdict
from tests.delivery.senders.network import IMPATIENT, LOCAL, SHORT, network
from tests.support.canary import canaries
from tests.support.certificates import Authority
from tests.support.http_sink import (
    Behaviour,
    HttpSink,
    answers,
    drip,
    endless,
    hang_up,
    http_sink,
    megabytes,
    packed_bomb,
    raw,
    silence,
)

NOW = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
AUTHORITY = Authority()
OPEN_FILES = Path("/proc/self/fd")


def _request(url: str, ca: str | None = None) -> HttpRequest:
    return HttpRequest(parse(url, "url"), [("Content-Type", "application/json")], b'{"hello": "there"}', ca=ca)


async def _post(sink: HttpSink) -> Outcome:
    return await post(LOCAL, _request(sink.url()), (), NOW)


async def _answered(behaviour: Behaviour) -> Outcome:
    async with http_sink(behaviour) as sink:
        return await _post(sink)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED), (201, Verdict.DELIVERED), (202, Verdict.DELIVERED), (204, Verdict.DELIVERED),
        (299, Verdict.DELIVERED),
        (300, Verdict.REFUSED), (301, Verdict.REFUSED), (302, Verdict.REFUSED), (304, Verdict.REFUSED),
        (307, Verdict.REFUSED), (308, Verdict.REFUSED),
        (400, Verdict.REFUSED), (401, Verdict.REFUSED), (403, Verdict.REFUSED), (404, Verdict.REFUSED),
        (413, Verdict.REFUSED), (422, Verdict.REFUSED),
        (408, Verdict.RETRY), (425, Verdict.RETRY), (429, Verdict.RETRY),
        (410, Verdict.GONE),
        (500, Verdict.RETRY), (502, Verdict.RETRY), (503, Verdict.RETRY), (504, Verdict.RETRY), (599, Verdict.RETRY),
        (999, Verdict.RETRY),
    ],
)  # fmt: skip
async def test_the_status_decides(status: int, verdict: Verdict) -> None:
    outcome = await _answered(answers(status, body=b"" if status in {204, 304} else b"words"))
    assert (outcome.verdict, outcome.status, outcome.may_have_arrived) == (verdict, status, False)
    assert (outcome.error is None) is (verdict is Verdict.DELIVERED)
    assert str(status) in (outcome.error or str(status))


async def test_an_outcome_tells_what_was_asked_and_answered() -> None:
    date = NOW + timedelta(minutes=7)
    async with http_sink(answers(200, f"Date: {format_datetime(date)}", body=b"thanks")) as sink:
        outcome = await _post(sink)
    assert outcome.answer == b"thanks"
    assert outcome.answered_at == date
    assert outcome.address == "127.0.0.1"
    assert outcome.timings.keys() == {"name", "connect", "answer"}
    assert 0 < outcome.latency < 5
    assert outcome.request.startswith(f"POST /hook HTTP/1.1\nHost: 127.0.0.1:{sink.port}\n")
    assert outcome.request.endswith('\n\n{"hello": "there"}')


async def test_a_request_is_plain_http_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with http_sink(answers(200)) as sink:
        await _post(sink)
        assert sink.requests[0].method == "POST"
        assert [name for name, _ in sink.requests[0].headers] == [
            "host", "content-type", "content-length", "accept-encoding", "connection",
        ]  # fmt: skip
        assert sink.requests[0].header("accept-encoding") == "identity"
        assert sink.requests[0].body == b'{"hello": "there"}'


async def test_a_redirect_inward_is_not_followed() -> None:
    async with (
        canaries() as canary,
        http_sink(answers(302, f"Location: http://127.0.0.1:{canary.port}/latest/meta-data")) as sink,
    ):
        outcome = await _post(sink)
        assert canary.connections == 0
        assert sink.connections == 1
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.error == (
        f"redirect: answered 302 to http://127.0.0.1:{canary.port}/latest/meta-data, which is not followed"
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 90", 90.0),
        ("retry-after:   0", 0.0),
        ("Retry-After: 86400", MAX_RETRY_AFTER),
        ("Retry-After: 99999999999999999999999", MAX_RETRY_AFTER),
        (f"Retry-After: {format_datetime(NOW + timedelta(hours=9))}", MAX_RETRY_AFTER),
        (f"Retry-After: {format_datetime(NOW - timedelta(hours=9))}", 0.0),
        ("Retry-After: -5", None),
        ("Retry-After: soon", None),
        ("Retry-After: ٣", None),
        ("X-Other: 90", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_may_ask_for_an_hour_at_most(status: int, header: str, seconds: float | None) -> None:
    assert (await _answered(answers(status, header))).retry_after == seconds


async def test_a_date_is_measured_by_the_clock_of_the_receiver_where_it_tells_one() -> None:
    theirs = NOW + timedelta(days=3)
    asked = f"Retry-After: {format_datetime(theirs + timedelta(seconds=120))}"
    assert (await _answered(answers(429, f"Date: {format_datetime(theirs)}", asked))).retry_after == 120
    near = f"Retry-After: {format_datetime(NOW + timedelta(seconds=120))}"
    outcome = await _answered(answers(429, near))
    assert outcome.retry_after is not None
    assert 110 < outcome.retry_after <= 120


async def test_no_seconds_are_taken_from_an_answer_that_is_final() -> None:
    assert (await _answered(answers(404, "Retry-After: 90"))).retry_after is None


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(silence, id="silence"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 9999, 0.1), id="one byte at a time"),
        pytest.param(endless(b"X: y\r\n", 0.05), id="garbage that goes on"),
        pytest.param(endless(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.05), id="103 for ever"),
        pytest.param(endless(b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 for ever, as fast as it goes"),
        pytest.param(raw(b"\x00\x01\x02 what is this?\r\n\r\n"), id="garbage"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 0123456789\r\n" * 10_000 + b"\r\n"), id="10,000 headers"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 500_000 + b"\r\n\r\n"), id="a long header"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nContent-Le"), id="half a head"),
        pytest.param(hang_up, id="closes"),
    ],
)
async def test_a_request_without_an_answer_is_tried_again_and_may_have_arrived(behaviour: Behaviour) -> None:
    began = trio.current_time()
    async with http_sink(behaviour) as sink:
        outcome = await post(IMPATIENT, _request(sink.url()), (), NOW)
        assert len(sink.requests) == 1
    assert trio.current_time() - began < SHORT.total + 1
    assert (outcome.verdict, outcome.status) == (Verdict.RETRY, None)
    assert outcome.may_have_arrived
    assert outcome.error


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(megabytes(200, 10), id="10 MiB"),
        pytest.param(packed_bomb(200), id="1 MiB that unpacks to 1 GiB"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"z" * 65_536 + b"\r\n" * 9),
            id="chunks that break",
        ),
        pytest.param(endless(b"", times=0), id="no answer at all"),
    ],
)
async def test_an_answer_is_read_as_it_comes_and_cut(behaviour: Behaviour) -> None:
    async with http_sink(behaviour) as sink:
        tracemalloc.start()
        outcome = await post(IMPATIENT, _request(sink.url()), (), NOW)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * 1_048_576
    assert len(outcome.answer) <= ANSWER_BYTES
    assert outcome.verdict is (Verdict.DELIVERED if outcome.status else Verdict.RETRY)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100), "answer: not HTTP/1.1: more than 65,536 bytes"),
        (
            raw(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 0123456789\r\n" * 10_000),
            "answer: not HTTP/1.1: more than 65,536 bytes",
        ),
    ],
)
async def test_a_head_without_an_end_is_left_before_it_costs_anybody_time(behaviour: Behaviour, error: str) -> None:
    assert (await _answered(behaviour)).error == error


async def test_no_more_of_a_body_is_taken_than_is_read() -> None:
    taken = 0

    async def count(stream: trio.abc.Stream) -> None:
        nonlocal taken
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 65_536)
            taken += 65_536

    assert (await _answered(count)).verdict is Verdict.DELIVERED
    assert taken < 20 * 1_048_576, "what the buffers of both sockets hold"


async def test_a_body_that_never_ends_takes_nothing_from_the_status() -> None:
    began = trio.current_time()
    slow = drip(b"HTTP/1.1 500 No\r\n\r\n", 0)
    async with http_sink(slow) as sink:
        outcome = await post(IMPATIENT, _request(sink.url()), (), NOW)
    assert (outcome.verdict, outcome.status, outcome.may_have_arrived) == (Verdict.RETRY, 500, False)
    assert trio.current_time() - began < SHORT.total + 1


async def test_a_receiver_that_takes_nothing_has_not_got_it() -> None:
    async def deaf(_stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, deaf, listeners)
        port = listeners[0].socket.getsockname()[1]
        request = HttpRequest(parse(f"http://127.0.0.1:{port}/", "url"), (), b"x" * 30_000_000)
        outcome = await post(IMPATIENT, request, (), NOW)
        nursery.cancel_scope.cancel()
    assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.RETRY, False)


@pytest.mark.parametrize("behaviour", [silence, drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.01)], ids=["head", "body"])
async def test_a_try_that_is_cancelled_leaves_no_connection(behaviour: Behaviour) -> None:
    async with http_sink(behaviour) as sink:
        before = len(list(OPEN_FILES.iterdir()))
        for number in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, LOCAL, _request(sink.url()), (), NOW)
                while len(sink.requests) <= number:
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()
        assert len(list(OPEN_FILES.iterdir())) <= before + 5, "of the five, the ends of the sink at most"


async def test_nobody_there_uses_no_step() -> None:
    async with http_sink(answers(200)) as sink:
        url = sink.url()
    for address, words in ((url, "connect: "), ("https://unknown.example/", "name: ")):
        outcome = await post(LOCAL, _request(address), (), NOW)
        assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.UNREACHED, False)
        assert outcome.error is not None
        assert outcome.error.startswith(words)


async def test_an_address_that_is_not_allowed_is_refused_and_never_dialled() -> None:
    async with canaries() as canary:
        for host in ("127.0.0.1", "rebinds.example"):
            outcome = await post(
                network(names={"rebinds.example": "127.0.0.1"}),
                _request(f"https://{host}:{canary.port}/"),
                (),
                NOW,
            )
            assert outcome.verdict is Verdict.REFUSED
            assert outcome.error is not None
            assert 'allow_networks = ["127.0.0.1/32"]' in outcome.error
        assert canary.connections == 0


async def _over_tls(context: ssl.SSLContext, *, ca: str | None, host: str = "127.0.0.1") -> Outcome:
    async with http_sink(answers(200), context) as sink:
        known = network("127.0.0.0/8", names={"hooks.example": "127.0.0.1"})
        return await post(known, _request(sink.url(host=host), ca), (), NOW)


async def test_a_private_server_is_trusted_by_the_ca_of_its_integration() -> None:
    named = AUTHORITY.certificate("hooks.example")
    outcome = await _over_tls(named.server_context(), ca=AUTHORITY.pem, host="hooks.example")
    assert outcome.verdict is Verdict.DELIVERED, outcome.error
    assert "tls" in outcome.timings
    by_address = AUTHORITY.certificate("127.0.0.1")
    assert (await _over_tls(by_address.server_context(), ca=AUTHORITY.pem)).verdict is Verdict.DELIVERED
    pinned = await _over_tls(named.server_context(), ca=named.pem, host="hooks.example")
    assert pinned.verdict is Verdict.DELIVERED, pinned.error


async def test_a_certificate_or_tls_that_is_not_good_is_refused_before_anything_is_sent() -> None:
    good = AUTHORITY.certificate("127.0.0.1").server_context()
    expired = AUTHORITY.certificate("127.0.0.1", expired=True).server_context()
    wrong = AUTHORITY.certificate("other.example").server_context()
    unknown = "unable to get local issuer certificate; of a server of your own, enter the CA"
    for context, ca, words in (
        (good, None, unknown),
        (good, Authority().pem, ""),
        (expired, AUTHORITY.pem, "certificate has expired"),
        (wrong, AUTHORITY.pem, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ):
        async with http_sink(answers(200), context) as sink:
            outcome = await post(LOCAL, _request(sink.url(), ca), (), NOW)
            assert outcome.verdict is Verdict.REFUSED
            assert (outcome.error or "").startswith("tls: "), outcome
            assert (outcome.error or "").endswith(words), outcome
            assert outcome.by_dates is (context is expired)
            assert sink.requests == []


async def test_a_server_without_tls_is_refused_and_one_that_says_nothing_was_not_reached() -> None:
    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    for behaviour, verdict, error in (
        (plain, Verdict.REFUSED, "tls: no TLS of version 1.2 or newer: wrong version number"),
        (silence, Verdict.UNREACHED, "tls: no handshake within 0.4 s"),
        (hang_up, Verdict.UNREACHED, "tls: the connection was closed in the handshake"),
    ):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, behaviour, listeners)
            port = listeners[0].socket.getsockname()[1]
            outcome = await post(IMPATIENT, _request(f"https://127.0.0.1:{port}/"), (), NOW)
            nursery.cancel_scope.cancel()
        assert (outcome.verdict, outcome.error) == (verdict, error)


async def test_the_host_of_the_address_is_named_to_the_server_that_was_dialled_by_its_address() -> None:
    named: list[str | None] = []
    context = AUTHORITY.certificate("hooks.example").server_context()
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    async with http_sink(answers(200), context) as sink:
        known = network("127.0.0.0/8", names={"hooks.example": "127.0.0.1"})
        outcome = await post(known, _request(sink.url(host="hooks.example"), AUTHORITY.pem), (), NOW)
        assert outcome.address == "127.0.0.1"
        assert named == ["hooks.example"]
        assert sink.requests[0].header("host") == f"hooks.example:{sink.port}"


def _old_tls() -> ssl.SSLContext:
    context = AUTHORITY.certificate("127.0.0.1").server_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_tls_of_a_version_before_1_2_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            # a socket of the standard library sends the alert that Trio's stream keeps
            connection, _ = listening.accept()
            with connection, contextlib.suppress(ssl.SSLError):
                _old_tls().wrap_socket(connection, server_side=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve)
            request = _request(f"https://127.0.0.1:{listening.getsockname()[1]}/", AUTHORITY.pem)
            outcome = await post(LOCAL, request, (), NOW)
    assert (outcome.verdict, outcome.error) == (
        Verdict.REFUSED,
        "tls: no TLS of version 1.2 or newer: tlsv1 alert protocol version",
    )

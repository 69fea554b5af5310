"""Mail is handed over to real servers, never in the clear where TLS is asked for, and no server can hold us up."""

from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address, ip_network

import pytest
import trio

from appliance.delivery.outgoing.addresses import AddressPolicy, IPAddress
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.dialler import Dialler
from appliance.delivery.outgoing.mail_server import MailServer, MailTls
from appliance.delivery.outgoing.network import NotAllowed, Unreached
from appliance.delivery.outgoing.smtp import (
    HIDDEN,
    BrokenOff,
    Mail,
    Progress,
    Rejected,
    Unsuitable,
    deliver,
)
from appliance.delivery.outgoing.smtp_replies import REPLY_BYTES
from appliance.delivery.outgoing.tls import TlsRefused
from tests.support.certificates import Authority
from tests.support.mail_sink import MailSink
from tests.support.scripted_server import scripted_server

NAME = "mail.test"
USER, PASSWORD = "gateway", "kX9-planted-secret"
PATIENT = Deadlines(name=5, connect=5, tls=5, write=5, read=5, total=10)
SHORT = Deadlines(name=5, connect=5, tls=5, write=5, read=0.5, total=10)


async def _loopback(host: str) -> list[IPAddress]:
    if host != NAME:
        raise OSError(-2, "Name or service not known")
    return [ip_address("127.0.0.1")]


NETWORK = Dialler(AddressPolicy([ip_network("127.0.0.0/8")], ()), (), _loopback, PATIENT)
IMPATIENT = replace(NETWORK, deadlines=SHORT)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def starttls_server(authority: Authority) -> Iterator[MailSink]:
    with MailSink(starttls=authority.certificate(NAME).server_context(), users={USER: PASSWORD}) as sink:
        yield sink


def _mail(*recipients: str, text: str = "It is warm.\n") -> Mail:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "A test"
    message["From"] = "gateway@example.org"
    message["To"] = ", ".join(recipients or ("ingrid@example.org",))
    message.set_content(text)
    return Mail("gateway@example.org", recipients or ("ingrid@example.org",), message)


def _server(port: int, tls: MailTls, ca: str | None = None, *, signs_in: bool = False, host: str = NAME) -> MailServer:
    user, password = (USER, PASSWORD) if signs_in else (None, None)
    return MailServer(host, port, tls, user, password, ca)


async def test_a_mail_goes_by_starttls_and_a_password(authority: Authority, starttls_server: MailSink) -> None:
    progress = Progress()
    reply = await deliver(
        _server(starttls_server.port, MailTls.STARTTLS, authority.pem, signs_in=True), _mail(), NETWORK, progress
    )
    received = starttls_server.mails[-1]
    assert (reply.code, received.encrypted, received.user) == (250, True, USER)
    assert (received.sender, received.recipients) == ("gateway@example.org", ("ingrid@example.org",))
    assert b"It is warm." in received.content
    assert progress.content_sent
    assert progress.address == "127.0.0.1"
    assert {"name", "connect", "tls", "answer"} == set(progress.timings)
    assert progress.seconds is not None
    assert progress.commands[1] == "STARTTLS"
    assert f"AUTH PLAIN {HIDDEN}" in progress.commands


async def test_a_mail_goes_by_tls_and_login_where_the_server_has_no_plain(authority: Authority) -> None:
    context = authority.certificate("127.0.0.1").server_context()
    with MailSink(tls=context, users={USER: PASSWORD}, without_mechanisms=["PLAIN"]) as sink:
        server = _server(sink.port, MailTls.TLS, authority.pem, signs_in=True, host="127.0.0.1")
        await deliver(server, _mail(), NETWORK, progress := Progress())
    assert sink.mails[0].user == USER
    assert sink.mechanisms == ["LOGIN"]
    assert progress.commands[1:4] == ["AUTH LOGIN", HIDDEN, HIDDEN]


async def test_a_line_that_is_a_dot_arrives_as_a_dot_and_ends_nothing() -> None:
    with MailSink() as sink:
        await deliver(_server(sink.port, MailTls.NONE), _mail(text="one\n.\n..two\n"), NETWORK, Progress())
    assert sink.mails[0].content.replace(b"\r\n", b"\n").endswith(b"\n\none\n.\n..two\n")


async def test_without_starttls_on_offer_nothing_is_sent() -> None:
    with MailSink(users={USER: PASSWORD}) as sink, pytest.raises(Unsuitable, match="offers no STARTTLS"):
        await deliver(_server(sink.port, MailTls.STARTTLS, signs_in=True), _mail(), NETWORK, progress := Progress())
    assert [command.split()[0] for command in progress.commands] == ["EHLO"]
    assert sink.mails == []


async def test_a_password_is_never_sent_in_the_clear() -> None:
    async def takes_anything(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 hello\r\n")
        await stream.receive_some()
        await stream.send_all(b"250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n")
        heard.append(bytes(await stream.receive_some()))

    heard: list[bytes] = []
    async with scripted_server(takes_anything) as port:
        with pytest.raises(Unsuitable, match="only sent under TLS"):
            await deliver(_server(port, MailTls.NONE, signs_in=True), _mail(), NETWORK, Progress())
    assert heard == [b""]


async def test_what_is_slipped_in_behind_the_answer_to_starttls_ends_the_try() -> None:
    async def injects(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 hello\r\n")
        await stream.receive_some()
        await stream.send_all(b"250-mail.test\r\n250 STARTTLS\r\n")
        await stream.receive_some()
        await stream.send_all(b"220 go ahead\r\n250-evil\r\n250 AUTH PLAIN\r\n")
        heard.append(bytes(await stream.receive_some()))

    heard: list[bytes] = []
    async with scripted_server(injects) as port:
        with pytest.raises(Unsuitable, match="more than its answer to STARTTLS"):
            await deliver(_server(port, MailTls.STARTTLS), _mail(), NETWORK, Progress())
    assert heard == [b""]


@pytest.mark.parametrize("tls", [MailTls.STARTTLS, MailTls.TLS])
async def test_a_certificate_that_is_not_right_is_refused(authority: Authority, tls: MailTls) -> None:
    def sink(*names: str, expired: bool = False) -> MailSink:
        context = authority.certificate(*names, expired=expired).server_context()
        return MailSink(starttls=context) if tls is MailTls.STARTTLS else MailSink(tls=context)

    with sink("other.test") as other, sink(NAME, expired=True) as late, sink(NAME) as good:
        for port, ca in ((other.port, authority.pem), (late.port, authority.pem), (good.port, Authority().pem)):
            with pytest.raises(TlsRefused, match="certificate") as raised:
                await deliver(_server(port, tls, ca), _mail(), NETWORK, progress := Progress())
            assert raised.value.by_dates is (port == late.port)
            assert not progress.content_sent
        assert not [*other.mails, *late.mails, *good.mails]


async def test_tls_to_a_port_without_it_is_refused_and_says_so() -> None:
    with MailSink() as sink, pytest.raises(TlsRefused, match="no TLS"):
        await deliver(_server(sink.port, MailTls.TLS), _mail(), NETWORK, Progress())


async def test_a_wrong_password_is_refused_with_the_servers_words(
    authority: Authority, starttls_server: MailSink
) -> None:
    server = replace(
        _server(starttls_server.port, MailTls.STARTTLS, authority.pem), username=USER, password="not the one"
    )
    with pytest.raises(Rejected, match="user name and password") as refusal:
        await deliver(server, _mail(), NETWORK, Progress())
    assert refusal.value.reply.code == 535


@pytest.mark.parametrize(
    ("at", "answer"),
    [
        ("MAIL", "451 4.3.0 later"),
        ("MAIL", "421 4.3.2 closing"),
        ("MAIL", "553 5.1.8 not you"),
        ("ingrid@example.org", "450 4.2.0 greylisted"),
        ("ingrid@example.org", "554 5.7.1 relay access denied"),
        ("ingrid@example.org", "421 4.3.2 closing"),
        ("DATA", "451 4.7.1 later"),
        ("DATA", "554 5.7.1 spam"),
        ("DATA", "421 4.3.2 closing"),
    ],
)
async def test_a_refusal_at_any_step_carries_the_servers_code(at: str, answer: str) -> None:
    with MailSink(answers={at: answer}) as sink, pytest.raises(Rejected) as refusal:
        await deliver(_server(sink.port, MailTls.NONE), _mail(), NETWORK, progress := Progress())
    assert refusal.value.reply.text == answer
    assert progress.content_sent is (at == "DATA")
    assert sink.mails == []


async def test_some_recipients_refused_the_others_get_it() -> None:
    answers = {"gone@example.org": "550 5.1.1 unknown", "abroad@example.org": "554 5.7.1 relay access denied"}
    with MailSink(answers=answers) as sink:
        mail = _mail("gone@example.org", "ingrid@example.org", "abroad@example.org", "olof@example.org")
        await deliver(_server(sink.port, MailTls.NONE), mail, NETWORK, progress := Progress())
    assert sink.mails[0].recipients == ("ingrid@example.org", "olof@example.org")
    assert [(name, reply.code) for name, reply in progress.refused] == [
        ("gone@example.org", 550),
        ("abroad@example.org", 554),
    ]


async def test_of_recipients_that_are_all_refused_one_for_now_decides() -> None:
    answers = {"gone@example.org": "550 5.1.1 unknown", "ingrid@example.org": "451 4.7.1 greylisted"}
    with MailSink(answers=answers) as sink, pytest.raises(Rejected) as refusal:
        await deliver(
            _server(sink.port, MailTls.NONE), _mail("gone@example.org", "ingrid@example.org"), NETWORK, Progress()
        )
    assert refusal.value.reply.code == 451


async def test_a_mail_larger_than_the_server_takes_is_not_begun() -> None:
    with MailSink(largest=1000) as sink, pytest.raises(Unsuitable, match="takes at most 1000"):
        await deliver(_server(sink.port, MailTls.NONE), _mail(text="x " * 600), NETWORK, progress := Progress())
    assert len(progress.commands) == 1


@pytest.mark.parametrize("last", ["220 hello", "250 mail.test", "250 ok", "354 go on"])
async def test_silence_at_any_step_ends_the_try_and_says_whether_it_may_have_arrived(last: str) -> None:
    async def falls_silent(stream: trio.SocketStream) -> None:
        for line in ("220 hello", "250 mail.test", "250 ok", "250 ok", "354 go on"):
            await stream.send_all(f"{line}\r\n".encode())
            if line == last:
                break
            await stream.receive_some()
        while await stream.receive_some():
            pass

    async with scripted_server(falls_silent) as port:
        with pytest.raises(BrokenOff, match=r"within 0\.5 s"):
            await deliver(_server(port, MailTls.NONE), _mail(), IMPATIENT, progress := Progress())
    assert progress.content_sent is (last == "354 go on")


async def test_a_server_that_drips_is_cut_off_by_the_deadline_of_the_reply() -> None:
    async def drips(stream: trio.SocketStream) -> None:
        for byte in b"220 " + b"x" * 1000:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.05)

    async with scripted_server(drips) as port:
        with pytest.raises(BrokenOff, match=r"greeting within 0\.5 s"):
            await deliver(_server(port, MailTls.NONE), _mail(), IMPATIENT, Progress())


async def test_the_whole_try_has_a_deadline_too() -> None:
    async def always_just_in_time(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 hello\r\n")
        while await stream.receive_some():
            await trio.sleep(0.2)
            await stream.send_all(b"250 ok\r\n")

    async with scripted_server(always_just_in_time) as port:
        network = replace(NETWORK, deadlines=replace(PATIENT, total=0.5))
        with pytest.raises(trio.TooSlowError):
            await deliver(_server(port, MailTls.NONE), _mail(), network, Progress())


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not SMTP"),
        (b"\xff\xfe\x00\r\n", "not SMTP"),
        (b"220-one\r\n250 two\r\n", "changed its mind"),
        (b"220 " + b"x" * 5000, "line longer"),
        (b"220-" + b"x" * 1000 + b"\r\n", f"longer than {REPLY_BYTES}"),
        (b"250 ok\r\n", "does not belong"),
        (b"", "closed the connection"),
    ],
)
async def test_what_is_not_smtp_or_has_no_end_is_cut_off(sent: bytes, says: str) -> None:
    async def babbles(stream: trio.SocketStream) -> None:
        await stream.send_all(sent)
        if says.startswith("longer"):
            for _ in range(200):
                await stream.send_all(sent)

    async with scripted_server(babbles) as port:
        with pytest.raises(BrokenOff, match=says):
            await deliver(_server(port, MailTls.NONE), _mail(), NETWORK, Progress())


async def test_an_old_server_without_ehlo_is_greeted_with_helo() -> None:
    async def old(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 hello\r\n")
        heard.append(bytes(await stream.receive_some()))
        await stream.send_all(b"502 no such command\r\n")
        heard.append(bytes(await stream.receive_some()))
        await stream.send_all(b"421 closing\r\n")

    heard: list[bytes] = []
    async with scripted_server(old) as port:
        with pytest.raises(Rejected):
            await deliver(_server(port, MailTls.NONE), _mail(), NETWORK, Progress())
    assert [line[:4] for line in heard] == [b"EHLO", b"HELO"]


async def test_nobody_there_and_no_such_name_are_unreached_and_an_inward_host_is_refused() -> None:
    with pytest.raises(Unreached):
        await deliver(_server(1, MailTls.NONE), _mail(), NETWORK, Progress())
    with pytest.raises(Unreached):
        await deliver(_server(587, MailTls.NONE, host="nowhere.test"), _mail(), NETWORK, Progress())
    closed = replace(NETWORK, policy=AddressPolicy((), ()))
    with MailSink() as sink:
        for tls in MailTls:
            with pytest.raises(NotAllowed):
                await deliver(_server(sink.port, tls), _mail(), closed, Progress())
    assert sink.connections == 0


def test_the_password_is_in_no_repr() -> None:
    assert PASSWORD not in repr(_server(587, MailTls.STARTTLS, signs_in=True))

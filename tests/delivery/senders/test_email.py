"""Every answer of a mail server has its outcome, and what people enter is checked before it is kept."""

import io
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from appliance.delivery.integrations.drafts import check_destinations
from appliance.delivery.outgoing.mail_server import MailServer, MailTls
from appliance.delivery.outgoing.network import NotAllowed, Relay, Unreached
from appliance.delivery.senders.email import MAX_RECIPIENTS, SENDER, address
from appliance.delivery.senders.masking import MASK
from appliance.delivery.senders.sender import Outcome, Target, Verdict
from appliance.errors import Invalid
from tests.delivery.outgoing.inward import INWARD_HOSTS
from tests.delivery.senders.network import PATIENT, network
from tests.support.canary import canaries
from tests.support.certificates import Authority
from tests.support.mail_sink import MailSink
from tests.support.notices import ACKNOWLEDGE_URL, notice
from tests.support.scripted_server import scripted_server

NAME = "mail.test"
NAMES = {NAME: "127.0.0.1", "localhost": "127.0.0.1", "localhost.": "127.0.0.1"}
OPEN = network("127.0.0.0/8", names=NAMES)
HASTY = network("127.0.0.0/8", names=NAMES, deadlines=replace(PATIENT, read=0.6))
"""For silence alone: whoever answers is given time."""
CLOSED = network(names=NAMES)
USER, PASSWORD = "gateway", "kX9-planted-secret"
INGRID, OLOF = "ingrid@norrvik.example", "olof@norrvik.example"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def starttls_server(authority: Authority) -> Iterator[MailSink]:
    with MailSink(starttls=authority.certificate(NAME).server_context(), users={USER: PASSWORD}) as sink:
        yield sink


def _config(port: int, **changes: Any) -> dict[str, Any]:
    common = {"recipients": [INGRID], "server": "own", "from": "alerts@norrvik.example", "host": NAME, "tls": "none"}
    return common | {"port": port} | changes


def _target(port: int, password: str | None = None, **changes: Any) -> Target:
    signing_in = {} if password is None else {"username": USER, "tls": "starttls"}
    secrets = {} if password is None else {"password": password}
    return Target("acme", SENDER.validate(_config(port, **signing_in | changes), secrets), secrets)


def _holds_no_secret(outcome: Outcome, password: str = PASSWORD) -> bool:
    shown = repr(outcome)
    return password not in shown and ACKNOWLEDGE_URL.rpartition("/")[2] not in shown


async def test_a_notice_is_mailed_and_the_request_is_shown_without_secrets(
    authority: Authority, starttls_server: MailSink
) -> None:
    sample = notice()
    outcome = await SENDER.send(_target(starttls_server.port, PASSWORD, ca=authority.pem), sample, OPEN)
    received = starttls_server.mails[-1]
    assert (outcome.verdict, outcome.status, outcome.error) == (Verdict.DELIVERED, 250, None)
    assert (received.encrypted, received.user, received.recipients) == (True, USER, (INGRID,))
    assert f"Message-ID: <{sample.message_id}@norrvik.example>".encode() in received.content
    assert ACKNOWLEDGE_URL.encode() in received.content.replace(b"=\r\n", b"")
    assert outcome.answer == b"250 Message accepted"
    assert (outcome.address, set(outcome.timings)) == ("127.0.0.1", {"name", "connect", "tls", "answer"})
    assert outcome.latency == pytest.approx(sum(outcome.timings.values()))
    for line in (f"AUTH PLAIN {MASK}", f"RCPT TO:<{INGRID}>", "Subject: Critical: ", f"Acknowledge: {MASK}"):
        assert line in outcome.request
    assert _holds_no_secret(outcome)


async def test_by_the_appliances_server_the_sender_is_the_operators_and_any_network_will_do() -> None:
    config = SENDER.validate({"recipients": f"{INGRID}\r\n{OLOF}\r\n", "from": "ceo@bank.example", "host": "x"}, {})
    assert config == {"recipients": [INGRID, OLOF], "server": "appliance"}
    with MailSink() as sink:
        server = MailServer("127.0.0.1", sink.port, MailTls.NONE)
        relayed = replace(CLOSED, relay=Relay(server, "appliance@operator.example", CLOSED.anywhere()))
        await check_destinations(SENDER, config, {}, relayed)
        outcome = await SENDER.send(Target("acme", config, {}), notice(), relayed)
    assert outcome.verdict is Verdict.DELIVERED
    assert (sink.mails[0].sender, sink.mails[0].recipients) == ("appliance@operator.example", (INGRID, OLOF))


async def test_without_a_server_of_the_appliance_saving_and_sending_say_who_can_mend_it() -> None:
    config = SENDER.validate({"recipients": [INGRID]}, {})
    with pytest.raises(Invalid, match=r"\[mail\] in appliance.toml") as refusal:
        await check_destinations(SENDER, config, {}, OPEN)
    assert refusal.value.field == "server"
    outcome = await SENDER.send(Target("acme", config, {}), notice(), OPEN)
    assert outcome.verdict is Verdict.REFUSED
    assert "[mail] in appliance.toml" in (outcome.error or "")


@pytest.mark.parametrize(
    ("at", "answer", "verdict"),
    [
        ("MAIL", "451 4.3.0 later", Verdict.RETRY),
        ("MAIL", "421 4.3.2 closing", Verdict.RETRY),
        ("MAIL", "550 5.7.1 not you", Verdict.REFUSED),
        (INGRID, "450 4.2.0 greylisted", Verdict.RETRY),
        (INGRID, "554 5.7.1 relay access denied", Verdict.REFUSED),
        ("DATA", "452 4.3.1 disk full", Verdict.RETRY),
        ("DATA", "421 4.3.2 closing", Verdict.RETRY),
        ("DATA", "554 5.7.1 spam", Verdict.REFUSED),
    ],
)
async def test_4xx_is_tried_again_and_5xx_is_final(at: str, answer: str, verdict: Verdict) -> None:
    with MailSink(answers={at: answer}) as sink:
        outcome = await SENDER.send(_target(sink.port), notice(), OPEN)
    assert (outcome.verdict, outcome.status, outcome.may_have_arrived) == (verdict, int(answer[:3]), False)
    assert outcome.answer == answer.encode()
    assert answer in (outcome.error or "")
    assert sink.mails == []


async def test_recipients_that_were_refused_are_named_while_the_others_got_it() -> None:
    with MailSink(answers={OLOF: "550 5.1.1 no such user"}) as sink:
        outcome = await SENDER.send(_target(sink.port, recipients=[INGRID, OLOF]), notice(), OPEN)
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.error == f"recipients: 1 of 2 were refused: {OLOF} (550 5.1.1 no such user)"
    assert sink.mails[0].recipients == (INGRID,)


async def test_a_wrong_password_is_refused_and_stands_nowhere(authority: Authority, starttls_server: MailSink) -> None:
    outcome = await SENDER.send(_target(starttls_server.port, "wrong-planted-one", ca=authority.pem), notice(), OPEN)
    assert (outcome.verdict, outcome.status) == (Verdict.REFUSED, 535)
    assert _holds_no_secret(outcome, "wrong-planted-one")


async def test_a_server_that_repeats_the_password_does_not_bring_it_into_the_log(authority: Authority) -> None:
    async with scripted_server(_repeats_the_password(authority)) as port:
        outcome = await SENDER.send(_target(port, PASSWORD, tls="tls", ca=authority.pem), notice(), OPEN)
    assert outcome.answer == f"535 no such thing as {MASK} or {MASK}".encode()
    assert _holds_no_secret(outcome)


async def test_secrets_are_in_no_line_of_the_log_at_debug_level(authority: Authority, debug_log: io.StringIO) -> None:
    async with scripted_server(_repeats_the_password(authority)) as port:
        target = _target(port, PASSWORD, tls="tls", ca=authority.pem)
        outcome = await SENDER.send(target, notice(), OPEN)
    structlog.get_logger("test").error("tried", target=target, outcome=outcome, notice=notice(), sender=SENDER)
    lines = debug_log.getvalue()
    assert '"event": "tried"' in lines
    for secret in (PASSWORD, ACKNOWLEDGE_URL.rpartition("/")[2]):
        assert secret not in lines


def _repeats_the_password(authority: Authority) -> Callable[[trio.SocketStream], Awaitable[None]]:
    context = authority.certificate(NAME).server_context()

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await secured.send_all(b"220 hello\r\n")
        await secured.receive_some()
        await secured.send_all(b"250-mail.test\r\n250 AUTH PLAIN\r\n")
        command = await secured.receive_some()
        await secured.send_all(b"535 no such thing as " + command.split()[-1] + b" or " + PASSWORD.encode() + b"\r\n")

    return serve


async def test_a_certificate_that_has_expired_is_refused_for_its_dates(authority: Authority) -> None:
    with MailSink(starttls=authority.certificate(NAME, expired=True).server_context()) as sink:
        outcome = await SENDER.send(_target(sink.port, tls="starttls", ca=authority.pem), notice(), OPEN)
    assert (outcome.verdict, outcome.by_dates) == (Verdict.REFUSED, True), outcome


async def test_certificate_stripped_starttls_and_no_tls_are_refused(
    authority: Authority, starttls_server: MailSink
) -> None:
    before = len(starttls_server.mails)
    with MailSink(users={USER: PASSWORD}) as plain:
        targets = [
            _target(starttls_server.port, PASSWORD),  # the system does not know the CA
            _target(starttls_server.port, PASSWORD, ca=authority.pem, host="127.0.0.1"),
            _target(plain.port, PASSWORD),
            _target(plain.port, PASSWORD, tls="tls"),
        ]
        for target in targets:
            outcome = await SENDER.send(target, notice(), OPEN)
            assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.REFUSED, False)
            assert outcome.error
        assert plain.mails == []
    assert len(starttls_server.mails) == before


@pytest.mark.parametrize(
    ("last", "may_have_arrived"), [("nothing", False), ("220 hello", False), ("354 go on", True), ("closes", True)]
)
async def test_silence_is_tried_again_and_may_have_arrived_once_the_mail_was_sent(
    last: str, may_have_arrived: bool
) -> None:
    async def falls_silent(stream: trio.SocketStream) -> None:
        for line in ("nothing", "220 hello", "250 mail.test", "250 ok", "250 ok", "354 go on"):
            if line != "nothing":
                await stream.send_all(f"{line}\r\n".encode())
            if line == last:
                break
            if line != "nothing":
                data = b""
                while not data.endswith(b"\r\n.\r\n" if line.startswith("354") else b"\r\n"):
                    data += await stream.receive_some()
        if last != "closes":
            while await stream.receive_some():
                pass

    async with scripted_server(falls_silent) as port:
        outcome = await SENDER.send(_target(port), notice(), HASTY)
    assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.RETRY, may_have_arrived)
    assert (outcome.status, outcome.answer) == (None, b"")


async def test_the_whole_try_ends_in_time() -> None:
    async def always_just_in_time(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 hello\r\n")
        while await stream.receive_some():
            await trio.sleep(0.3)
            await stream.send_all(b"250 ok\r\n")

    async with scripted_server(always_just_in_time) as port:
        network_in_haste = replace(OPEN, deadlines=replace(PATIENT, total=0.7))
        outcome = await SENDER.send(_target(port), notice(), network_in_haste)
    assert outcome.verdict is Verdict.RETRY
    assert (outcome.error or "").startswith("timeout: ")


async def test_nobody_there_is_unreached() -> None:
    for target in (_target(1), _target(587, host="nowhere.test")):
        outcome = await SENDER.send(target, notice(), OPEN)
        assert (outcome.verdict, outcome.address, outcome.may_have_arrived) == (Verdict.UNREACHED, None, False)


async def test_no_inward_host_is_dialled_on_save_or_send() -> None:
    async with canaries() as canary:
        closed = network(names=NAMES, ports=(canary.port,))  # nothing but the addresses stands in the way
        for host in (*INWARD_HOSTS, *canary.addresses):
            try:
                target = _target(canary.port, host=host, tls="starttls")
            except Invalid:
                continue  # an address with a zone, which is no host here
            (destination,) = SENDER.destinations(target.config, {})
            with pytest.raises((NotAllowed, Unreached)):
                await closed.check(destination)
            outcome = await SENDER.send(target, notice(), closed)
            assert outcome.verdict in {Verdict.REFUSED, Verdict.UNREACHED}
        assert canary.connections == 0


async def test_a_refused_host_is_blamed_on_its_field() -> None:
    with pytest.raises(Invalid, match="loopback") as refusal:
        await check_destinations(SENDER, _target(587).config, {}, CLOSED)
    assert refusal.value.field == "host"


async def test_mail_in_the_clear_goes_only_to_networks_that_are_listed() -> None:
    (destination,) = SENDER.destinations(_target(587, host="8.8.8.8").config, {})
    with pytest.raises(NotAllowed, match="without encryption"):
        await CLOSED.check(destination)
    (destination,) = SENDER.destinations(_target(587, host="8.8.8.8", tls="starttls").config, {})
    await CLOSED.check(destination)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipients": []}, "recipients"),
        ({"recipients": ["a@b,c@d"]}, "recipients"),
        ({"recipients": ["a@b.example\r\nBcc: c@d.example"]}, "recipients"),
        ({"recipients": ["Ingrid <ingrid@norrvik.example>"]}, "recipients"),
        ({"recipients": ["a@b@c"]}, "recipients"),
        ({"recipients": ["a"]}, "recipients"),
        ({"recipients": ["a..b@c.example"]}, "recipients"),
        ({"recipients": ['"a b"@c.example']}, "recipients"),
        ({"recipients": ["a@b..example"]}, "recipients"),
        ({"recipients": ["a@-b.example"]}, "recipients"),
        ({"recipients": ["a@[127.0.0.1]"]}, "recipients"),
        ({"recipients": ["å@b.example"]}, "recipients"),
        ({"recipients": [f"{'a' * 65}@b.example"]}, "recipients"),
        ({"recipients": [f"{number}@b.example" for number in range(MAX_RECIPIENTS + 1)]}, "recipients"),
        ({"recipients": [f"{number}@b.example" for number in range(1000)]}, "recipients"),
        ({"from": "a@b,c@d"}, "from"),
        ({"from": ""}, "from"),
        ({"host": ""}, "host"),
        ({"host": "smtp://mail.example"}, "host"),
        ({"host": "mail.example\r\nEHLO"}, "host"),
        ({"port": 0}, "port"),
        ({"tls": "ssl"}, "tls"),
        ({"server": "mine"}, "server"),
        ({"username": "a"}, "password"),
        ({"ca": "nonsense", "tls": "tls"}, "ca"),
        ({"subject": "x"}, "subject"),
    ],
)
def test_bad_input_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        SENDER.validate(_config(587) | changes, {})
    assert refusal.value.field == field


@given(st.text("aZ0.!#$%&'*+/=?^_`{|}~-\"(),:;<>@[\\] \r\n\0é", max_size=12).map(lambda text: f"a{text}@b.example"))
def test_an_address_that_is_taken_is_one_address_on_the_wire(text: str) -> None:
    try:
        kept = address(text, "recipients")
    except Invalid:
        return  # refused, which is as good
    message = EmailMessage(policy=SMTP)
    message["To"] = [Address(addr_spec=kept), Address(addr_spec=INGRID)]
    read = message_from_bytes(message.as_bytes(policy=SMTP), policy=default)
    assert [one.addr_spec for one in read["To"].addresses] == [kept, INGRID]


def test_a_password_needs_a_user_and_tls() -> None:
    for changes, field in (({"tls": "tls"}, "username"), ({"username": "a", "tls": "none"}, "tls")):
        with pytest.raises(Invalid) as refusal:
            SENDER.validate(_config(587) | changes, {"password": PASSWORD})
        assert refusal.value.field == field
        assert PASSWORD not in str(refusal.value)


def test_what_is_kept_is_canonical() -> None:
    config = {"recipients": "Ingrid@NORRVIK.example\nIngrid@norrvik.example", "server": "own"}
    kept = SENDER.validate(config | {"from": "a@B.example", "host": "MAIL.example"}, {})
    assert kept == {
        "recipients": ["Ingrid@norrvik.example"],
        "server": "own",
        "from": "a@b.example",
        "host": "mail.example",
        "tls": "starttls",
        "port": 587,
    }
    assert SENDER.validate(kept, {}) == kept
    assert SENDER.validate(kept | {"tls": "tls", "port": None}, {})["port"] == 465

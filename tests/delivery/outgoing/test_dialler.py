"""Exactly the judged address is dialled, and none of a name of which one address is refused."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
import trio

from appliance.delivery.outgoing.addresses import AddressPolicy, IPAddress
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.dialler import MAX_ADDRESSES, Dialler, system_dialler
from appliance.delivery.outgoing.network import Destination, NotAllowed, Unreached
from tests.delivery.outgoing.inward import INWARD_HOSTS
from tests.support.canary import Canary, canaries

SHORT = Deadlines(name=0.5, connect=0.5, tls=0.5, write=0.5, read=0.5, total=2)
WEB = frozenset({443, 8443})
LOOPBACK = ("127.0.0.0/8", "::1/128")


def _dialler(
    *networks: str, names: Callable[[str], Sequence[str]] = lambda host: (host,), ports: Sequence[int] = ()
) -> Dialler:
    async def resolve(host: str) -> Sequence[IPAddress]:
        await trio.lowlevel.checkpoint()
        return [ip_address(address) for address in names(host)]

    policy = AddressPolicy(allowed=[ip_network(network) for network in networks], own=())
    return Dialler(policy, ports, resolve, SHORT)


def _to(host: str, port: int, *, encrypted: bool = True) -> Destination:
    return Destination(host, port, WEB, encrypted)


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    async with canaries() as listening:
        yield listening


async def test_no_inward_host_is_dialled_or_passes_the_check(canary: Canary) -> None:
    ports = [canary.port]  # so that nothing but the list of addresses keeps the canaries from being reached
    dialler = _dialler(names=lambda host: ("127.0.0.1",) if host.startswith("localhost") else (host,), ports=ports)
    for host in (*INWARD_HOSTS, *canary.addresses):
        for encrypted in (True, False):
            with pytest.raises(NotAllowed, match="an operator sets"):
                await dialler.check(_to(host, canary.port, encrypted=encrypted))
            with pytest.raises(NotAllowed, match="an operator sets"):
                await dialler.dial(_to(host, canary.port, encrypted=encrypted))
    assert canary.connections == 0


async def test_the_refusal_names_the_line_for_the_operator() -> None:
    with pytest.raises(NotAllowed) as refused:
        await _dialler(names=lambda _: ("10.20.0.31",)).check(_to("hooks.lan", 443))
    assert "hooks.lan (10.20.0.31) is a private address" in str(refused.value)
    assert '[delivery] allow_networks = ["10.20.0.31/32"]' in str(refused.value)
    with pytest.raises(NotAllowed, match=r'allow_networks = \["fd12::5/128"\]'):
        await _dialler().check(_to("fd12::5", 443))


async def test_a_listed_network_is_reached_on_any_port_and_in_clear_text(canary: Canary) -> None:
    dialled = await _dialler("127.0.0.0/8").dial(_to("127.0.0.1", canary.port, encrypted=False))
    assert dialled.address == "127.0.0.1"
    assert dialled.stream.socket.getpeername() == ("127.0.0.1", canary.port)
    await dialled.stream.aclose()


async def test_one_refused_address_refuses_the_name() -> None:
    with pytest.raises(NotAllowed, match=r"10\.0\.0\.1"):
        await _dialler(names=lambda _: ("8.8.8.8", "10.0.0.1")).dial(_to("mixed.example", 443))


async def test_a_name_that_turns_inward_after_it_was_saved_is_refused_when_it_is_dialled(canary: Canary) -> None:
    answers = iter((("8.8.8.8",), ("127.0.0.1",)))
    dialler = _dialler(names=lambda _: next(answers))
    destination = _to("rebinds.example", 443)
    assert await dialler.check(destination) == [ip_address("8.8.8.8")]
    with pytest.raises(NotAllowed, match="loopback"):
        await dialler.dial(destination)
    assert canary.connections == 0


async def test_a_name_is_resolved_once_a_dial(canary: Canary) -> None:
    asked: list[str] = []

    def names(host: str) -> Sequence[str]:
        asked.append(host)
        return ("127.0.0.1",)

    dialled = await _dialler("127.0.0.0/8", names=names).dial(_to("here.example", canary.port))
    await dialled.stream.aclose()
    assert asked == ["here.example"]


async def test_ports_beside_the_usual_ones_need_a_line_of_the_operator() -> None:
    for port in (22, 25, 80, 1883, 5432):
        with pytest.raises(NotAllowed, match=rf"allow_ports = \[{port}\]"):
            await _dialler().check(_to("8.8.8.8", port))
    for port in (443, 8443):
        await _dialler().check(_to("8.8.8.8", port))
    await _dialler(ports=(9443,)).check(_to("8.8.8.8", 9443))
    for port in (0, -1, 65_536, 99_999):
        with pytest.raises(NotAllowed, match="is not a port"):
            await _dialler("0.0.0.0/0").check(_to("8.8.8.8", port))


async def test_clear_text_goes_only_where_the_operator_lists() -> None:
    with pytest.raises(NotAllowed, match="without encryption"):
        await _dialler().check(_to("8.8.8.8", 443, encrypted=False))
    await _dialler("8.8.8.0/24").check(_to("8.8.8.8", 80, encrypted=False))


async def test_the_next_address_is_tried_when_one_does_not_answer(canary: Canary) -> None:
    dialler = _dialler(*LOOPBACK, names=lambda _: ("127.9.9.9", "127.0.0.1"))
    dialled = await dialler.dial(_to("two.example", canary.port))
    assert dialled.address == "127.0.0.1"
    await dialled.stream.aclose()


async def test_nobody_who_answers_is_unreached() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreached, match=r"no connection to port \d+ of 127\.0\.0\.1: Connection refused"):
            await _dialler(*LOOPBACK).dial(_to("127.0.0.1", taken.getsockname()[1]))


async def test_an_address_that_swallows_everything_costs_the_deadline(canary: Canary) -> None:
    async with canary.full_queue() as port:
        began = trio.current_time()
        with pytest.raises(Unreached, match="no answer within"):
            await _dialler(*LOOPBACK).dial(_to("127.0.0.1", port))
        assert trio.current_time() - began < SHORT.total


async def test_a_name_that_is_not_resolved_in_time_or_not_at_all_is_unreached() -> None:
    async def never(_host: str) -> Sequence[IPAddress]:
        await trio.sleep_forever()
        raise AssertionError

    async def unknown(_host: str) -> Sequence[IPAddress]:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    policy = AddressPolicy(allowed=(), own=())
    with pytest.raises(Unreached, match=r"name: slow.example was not resolved within 0.5 s"):
        await Dialler(policy, (), never, SHORT).check(_to("slow.example", 443))
    with pytest.raises(Unreached, match=r"name: no.example was not found: Name or service not known"):
        await Dialler(policy, (), unknown, SHORT).dial(_to("no.example", 443))
    with pytest.raises(Unreached, match="has no address"):
        await _dialler(names=lambda _: ()).check(_to("empty.example", 443))


async def test_a_name_of_very_many_addresses_is_refused() -> None:
    with pytest.raises(NotAllowed, match="65 addresses"):
        await _dialler(names=lambda _: [f"8.8.8.{n}" for n in range(MAX_ADDRESSES + 1)]).check(_to("many.example", 443))


async def test_what_the_operators_file_names_may_stand_anywhere() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    relay = Destination("127.0.0.1", port, WEB, encrypted=False)
    dialler = _dialler()
    with pytest.raises(NotAllowed):
        await dialler.dial(relay)
    dialled = await dialler.anywhere().dial(relay)
    assert dialled.address == "127.0.0.1"
    await trio.aclose_forcefully(dialled.stream)
    await listener.aclose()


async def test_the_dialler_of_the_process_is_what_the_file_of_the_operator_says() -> None:
    dialler = system_dialler(["10.20.0.0/24"], [9443], "https://8.8.4.4:8443", SHORT)
    await dialler.check(_to("10.20.0.31", 80, encrypted=False))
    await dialler.check(_to("8.8.8.8", 9443))
    for host in ("8.8.4.4", "::ffff:8.8.4.4"):
        with pytest.raises(NotAllowed, match="an address of this machine"):
            await dialler.check(_to(host, 443))
    with pytest.raises(NotAllowed, match=r"localhost \((127\.0\.0\.1|::1)\) is a loopback address"):
        await dialler.check(_to("localhost", 443))


async def test_the_name_of_the_appliance_leads_inside_wherever_it_points() -> None:
    async def resolve(_host: str) -> Sequence[IPAddress]:
        await trio.lowlevel.checkpoint()
        return [ip_address("8.8.8.8")]

    dialler = replace(system_dialler([], [], "https://Edge.example", SHORT), resolve=resolve)
    for host in ("edge.example", "EDGE.example."):
        with pytest.raises(NotAllowed, match="is this appliance"):
            await dialler.check(_to(host, 443))
    await dialler.check(_to("hooks.example", 443))

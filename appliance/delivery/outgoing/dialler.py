"""Dials: resolves a name once, judges each of its addresses, and connects to exactly one that was judged."""

import os
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import zip_longest
from urllib.parse import urlsplit

import trio

from appliance.delivery.outgoing.addresses import AddressPolicy, IPAddress, numeric
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.network import NO_RELAY, RELAYED, Destination, Dialled, NotAllowed, Relay, Unreached
from appliance.delivery.outgoing.resolver import Resolver, SystemResolver, system_lookup

MAX_ADDRESSES = 64
"""Addresses of a name at most: each is judged, and large services have some twenty."""
MAX_DIALLED = 4
"""Of them that are tried in turn, the two families alternating."""

EVERYWHERE = AddressPolicy([IPv4Network("0.0.0.0/0"), IPv6Network("::/0")], ())


@dataclass(frozen=True, slots=True)
class Dialler:
    """The network as senders see it. One for the process."""

    policy: AddressPolicy
    allowed_ports: Collection[int]
    """Ports that the operator allows for every public address, beside those that are usual for a use."""
    resolve: Resolver
    deadlines: Deadlines
    relay: Relay | None = None
    own_names: frozenset[str] = frozenset()
    """Names under which people reach this appliance, in lower case."""

    def anywhere(self) -> "Dialler":
        """Return a dialler for what the operator's file names, which may stand on any network."""
        return replace(self, policy=EVERYWHERE, relay=None, own_names=frozenset())

    async def check(self, destination: Destination) -> Sequence[IPAddress]:
        """Return the judged addresses of a destination. Raises NotAllowed, Unreached."""
        if destination == RELAYED:
            if self.relay is None:
                raise NotAllowed(NO_RELAY, "server")
            return []
        addresses = await self._addresses(destination.host)
        for address in addresses:
            self._judge(destination, address)
        return addresses

    async def dial(self, destination: Destination) -> Dialled:
        """Return a connection to an allowed address, each tried in turn. Raises NotAllowed, Unreached."""
        began = trio.current_time()
        addresses = list(_alternating(await self.check(destination)))[:MAX_DIALLED]
        resolved = trio.current_time()
        deadline = resolved + self.deadlines.connect
        error = "no address"
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            seconds = max(0.0, deadline - trio.current_time()) / left
            try:
                with trio.fail_after(seconds):
                    stream = await _connect(address, destination.port)
            except trio.TooSlowError:
                error = f"no answer within {seconds:.3g} s"
            except OSError as fault:
                error = _words(fault)
            else:
                return Dialled(stream, str(address), resolved - began, trio.current_time() - resolved)
        tried = ", ".join(str(address) for address in addresses)
        raise Unreached(f"connect: no connection to port {destination.port} of {tried}: {error}")

    async def _addresses(self, host: str) -> Sequence[IPAddress]:
        written = numeric(host)
        if written is not None:
            return [written]
        try:
            with trio.fail_after(self.deadlines.name):
                found = await self.resolve(host)
        except trio.TooSlowError:
            raise Unreached(f"name: {host} was not resolved within {self.deadlines.name:g} s") from None
        except OSError as fault:
            raise Unreached(f"name: {host} was not found: {_words(fault)}") from None
        if not found:
            raise Unreached(f"name: {host} has no address")
        if len(found) > MAX_ADDRESSES:
            raise NotAllowed(f"address: {host} has {len(found)} addresses, more than {MAX_ADDRESSES}")
        return found

    def _judge(self, destination: Destination, address: IPAddress) -> None:
        """Raise NotAllowed unless this address may be dialled for this use."""
        host, port = destination.host, destination.port
        shown = str(address) if numeric(host) is not None else f"{host} ({address})"
        line = f"to allow it, an operator sets [delivery] allow_networks = {_entry(address)} in appliance.toml"
        if not 1 <= port <= 65_535:
            raise NotAllowed(f"port: {port} is not a port")
        if self.policy.listed(address):
            return
        if (fault := self.policy.refusal(address)) is not None:
            raise NotAllowed(f"address: {shown} {fault}; {line}")
        if host.lower().rstrip(".") in self.own_names:
            raise NotAllowed(f"address: {shown} is this appliance; {line}")
        if not destination.encrypted:
            raise NotAllowed(f"scheme: {shown} would be reached without encryption; use TLS, or {line}")
        if port not in destination.usual_ports and port not in self.allowed_ports:
            usual = ", ".join(str(one) for one in sorted(destination.usual_ports))
            raise NotAllowed(
                f"port: {port} of {shown} is not allowed, only {usual}; "
                f"to allow it, an operator sets [delivery] allow_ports = [{port}] in appliance.toml"
            )


def system_dialler(
    allow_networks: Collection[str], allow_ports: Collection[int], public_url: str | None, deadlines: Deadlines
) -> Dialler:
    """Return the dialler of the process, as the operator's file has it: networks as ADDRESS/BITS, checked before."""
    public = urlsplit(public_url or "").hostname or ""
    own = numeric(public) if public else None
    return Dialler(
        AddressPolicy([ip_network(network) for network in allow_networks], [] if own is None else [own]),
        frozenset(allow_ports),
        SystemResolver(system_lookup),
        deadlines,
        own_names=frozenset({public.lower().rstrip(".")} if public and own is None else ()),
    )


def _entry(address: IPAddress) -> str:
    """Return the list of one network that lets an address through, as TOML."""
    return f'["{str(address).partition("%")[0]}/{address.max_prefixlen}"]'


def _alternating(addresses: Sequence[IPAddress]) -> Iterator[IPAddress]:
    """Yield the addresses with the families in turn, so that one that is broken costs one try."""
    first = [one for one in addresses if one.version == addresses[0].version]
    second = [one for one in addresses if one.version != addresses[0].version]
    for pair in zip_longest(first, second):
        yield from (one for one in pair if one is not None)


async def _connect(address: IPAddress, port: int) -> trio.SocketStream:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connecting = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await connecting.connect((str(address), port))
        return trio.SocketStream(connecting)
    except BaseException:
        connecting.close()
        raise


def _words(fault: OSError) -> str:
    """Return what the system says of a failure, without numbers and addresses."""
    if isinstance(fault, socket.gaierror):
        return str(fault.args[-1])
    return os.strerror(fault.errno) if fault.errno else "failed"

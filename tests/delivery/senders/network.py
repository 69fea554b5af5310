"""The network of senders under test: deadlines that tests can wait for, names as they say."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

import trio

from appliance.delivery.outgoing.addresses import AddressPolicy, IPAddress
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.dialler import Dialler

SHORT = Deadlines(name=0.4, connect=0.4, tls=0.4, write=0.4, read=0.4, total=0.8)
PATIENT = Deadlines(name=5, connect=5, tls=5, write=5, read=5, total=10)


def network(
    *allowed: str, names: Mapping[str, str] | None = None, deadlines: Deadlines = PATIENT, ports: Sequence[int] = ()
) -> Dialler:
    """Return a network that lets ``allowed`` through and knows ``names``."""
    known = names or {}

    async def resolve(host: str) -> Sequence[IPAddress]:
        await trio.lowlevel.checkpoint()
        if host not in known:
            raise OSError("not known")
        return [ip_address(known[host])]

    policy = AddressPolicy(allowed=[ip_network(one) for one in allowed], own=())
    return Dialler(policy, ports, resolve, deadlines)


LOCAL = network("127.0.0.0/8")
IMPATIENT = network("127.0.0.0/8", deadlines=SHORT)

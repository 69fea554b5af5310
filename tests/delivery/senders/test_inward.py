"""No type of integration reaches inside: not when it is saved, not when it sends, however the address is written."""

from collections.abc import Sequence

import pytest

from appliance.delivery.outgoing.addresses import AddressPolicy
from appliance.delivery.outgoing.dialler import Dialler
from appliance.delivery.outgoing.network import NotAllowed, Unreached
from appliance.delivery.outgoing.resolver import SystemResolver, system_lookup
from appliance.delivery.senders.sender import Target, Verdict
from appliance.errors import Invalid
from tests.delivery.outgoing.inward import INWARD_HOSTS
from tests.delivery.senders.examples import HTTP, Example
from tests.delivery.senders.network import LOCAL, PATIENT
from tests.support.canary import Canary, canaries
from tests.support.http_sink import answers, http_sink
from tests.support.notices import notice

STRANGE = (
    "http://ok.example@{host}:{port}/", "https://ok.example\\@{host}:{port}/", "https://{host}:{port}\\@ok.example",
    "https://{host}:{port}#@ok.example/", "https:{host}:{port}", "https:///{host}:{port}/", "ftp://{host}:{port}/",
    "gopher://{host}:{port}/", "https://{host}\t:{port}/", "https://{host}\r\n:{port}/", "https://ok.example:0/",
    "https://{host}\u200b:{port}/", "//{host}:{port}/", "https://%31%32%37.0.0.1:{port}/",
    "https://[::ffff:{host}]:{port}/",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/", "https://127\u30020\u30020\u30021:{port}/",
    "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{port}/", "http://{host}:22/", "http://{host}:5432/",
)  # fmt: skip
"""Beside every inward host: what is read in two ways, and other signs that mean the same."""


def urls(canary: Canary) -> Sequence[str]:
    """Return every address that must not be reached, most of them leading to the canaries."""
    hosts = [f"[{host}]" if ":" in host else host for host in (*INWARD_HOSTS, *canary.addresses)]
    plain = [f"{scheme}://{host}:{canary.port}/" for host in hosts for scheme in ("https", "http")]
    return [*plain, *(one.format(host="127.0.0.1", port=canary.port) for one in STRANGE)]


async def _saved(example: Example, network: Dialler) -> bool:
    """Return whether an integration would be saved."""
    try:
        target = example.target()
        for destination in example.sender.destinations(target.config, target.secrets):
            await network.check(destination)
    except (Invalid, NotAllowed, Unreached):
        return False
    return True


@pytest.mark.parametrize("example", HTTP, ids=lambda example: example.type)
async def test_no_inward_address_is_saved_or_reached(example: Example) -> None:
    async with canaries() as canary:
        # the port is allowed, so that nothing but the list of addresses keeps the canaries from being reached
        network = Dialler(AddressPolicy((), ()), (canary.port,), SystemResolver(system_lookup), PATIENT)
        tried = urls(canary)
        assert len(tried) >= 60
        for url in tried:
            inward = example.at(url)
            assert not await _saved(inward, network), url
            # what is in the database is held against the list as well, whoever wrote it there
            stored = Target("acme", inward.config, inward.secrets)
            outcome = await example.sender.send(stored, notice(), network)
            assert outcome.verdict in {Verdict.REFUSED, Verdict.UNREACHED}, url
        assert canary.connections == 0


@pytest.mark.parametrize("example", HTTP, ids=lambda example: example.type)
async def test_a_network_that_the_operator_allows_works(example: Example) -> None:
    async with http_sink(answers(200)) as sink:
        allowed = example.at(sink.url())
        assert await _saved(allowed, LOCAL)
        outcome = await example.sender.send(allowed.target(), notice(), LOCAL)
        assert outcome.verdict is Verdict.DELIVERED
        assert len(sink.requests) == 1


@pytest.mark.parametrize("example", HTTP, ids=lambda example: example.type)
async def test_a_certificate_that_was_damaged_in_the_database_is_refused(example: Example) -> None:
    async with http_sink(answers(200)) as sink:
        damaged = example.at(sink.url().replace("http:", "https:"))
        stored = Target("acme", {**damaged.config, "ca": "nonsense"}, damaged.secrets)
        outcome = await example.sender.send(stored, notice(), LOCAL)
        assert outcome.verdict is Verdict.REFUSED
        assert (outcome.error or "").startswith("tls: the CA certificate is no certificate in PEM")
        assert sink.connections == 0

"""Names are resolved in threads of their own, so that a silent name server holds up nobody else."""

import threading
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
import trio

from appliance.delivery.outgoing.addresses import IPAddress
from appliance.delivery.outgoing.resolver import THREADS_OF_NAME, SystemResolver, system_lookup


class SilentServer:
    """Answers for every name but ``silent``, for which it waits until it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        if host == "silent":
            self.release.wait(10)
        return [ip_address("8.8.8.8")]


async def test_a_name_whose_server_is_silent_holds_few_threads_and_no_other_name() -> None:
    server = SilentServer()
    resolve = SystemResolver(server)
    try:
        with trio.move_on_after(0.05):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(resolve, "silent")
        assert server.asked.count("silent") == THREADS_OF_NAME
        with trio.fail_after(2):
            assert await resolve("other") == [ip_address("8.8.8.8")]
        # those that gave up still hold their threads
        with trio.move_on_after(0.05):
            await resolve("silent")
        assert server.asked.count("silent") == THREADS_OF_NAME
    finally:
        server.release.set()
    with trio.fail_after(2):
        assert await resolve("silent") == [ip_address("8.8.8.8")]


def test_the_system_knows_localhost_and_no_name_without_an_address() -> None:
    assert ip_address("127.0.0.1") in system_lookup("localhost")
    for name in ("no-such-host.invalid", "a" * 64 + ".example", "."):
        with pytest.raises(OSError, match=r"."):
            system_lookup(name)

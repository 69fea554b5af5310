"""An integrator with a line that breaks anywhere, at an appliance that is killed: each device is made once (P18)."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from tests.support import soak
from tests.support.appliance_process import EMAIL, ApplianceProcess, free_port
from tests.support.web.accounts import http_client

INTEGRATORS = 4
DEVICES = 2
"""Made by each integrator between two kills."""
PATIENCE_SECONDS = 90.0
LONGEST_ANSWER = 1000
"""Bytes after which a line that breaks is cut at the latest, in each direction: about those of a request or answer."""


class BreakingLine:
    """A proxy of which half of the connections break after some bytes, in the request or in the answer."""

    def __init__(self, port: int, seed: int) -> None:
        self._target = port
        self._random = random.Random(seed)
        self.port = 0
        self.broken = 0

    async def connect(self, near: trio.SocketStream) -> None:
        """Pass a connection on until it ends or breaks."""
        breaks = self._random.random() < 0.5
        left = [self._random.randrange(LONGEST_ANSWER) if breaks else 1 << 30 for _ in range(2)]
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._target)
        except OSError:  # the appliance is away
            await trio.aclose_forcefully(near)
            return
        async with near, far, trio.open_nursery() as nursery:

            async def forward(source: trio.SocketStream, sink: trio.SocketStream, allowed: int) -> None:
                try:
                    async for data in source:
                        await sink.send_all(data[:allowed])
                        allowed -= len(data)
                        if allowed <= 0:
                            self.broken += 1
                            break
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(forward, near, far, left[0])
            nursery.start_soon(forward, far, near, left[1])


@asynccontextmanager
async def breaking_line(port: int, seed: int) -> AsyncIterator[BreakingLine]:
    line = BreakingLine(port, seed)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    line.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, line.connect, listeners)
        yield line
        nursery.cancel_scope.cancel()


async def make_device(url: str, bearer: dict[str, str], device: str) -> dict[str, Any]:
    """Create a device as a careful integrator does, and return its secrets."""
    headers = {**bearer, "Idempotency-Key": f"the order for {device}"}
    while True:
        async with http_client(base_url=url, timeout=20) as http:
            try:
                body = {"device_id": device}
                answer = await http.post("/customer/devices?tenant=fleet", json=body, headers=headers)
            except httpx.TransportError:
                await trio.sleep(0.2)
                continue
        if answer.status_code >= 500:
            await trio.sleep(0.2)
            continue
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


async def test_over_a_breaking_line_and_through_kills_each_device_is_made_once_and_its_secret_works(
    appliance: ApplianceProcess,
) -> None:
    port = free_port()
    appliance.settings["APPLIANCE_WEB_PORT"] = str(port)
    appliance.start()
    appliance.set_up()
    appliance.tenant()
    token = appliance.command("token", "add", EMAIL, "--scopes", "read,write", "--days", "1")["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    made: dict[str, dict[str, Any]] = {}
    kills = soak.times(1)

    async def integrate(url: str, name: str) -> None:
        for number in range(DEVICES):
            device = f"{name}-{number}"
            made[device] = await make_device(url, bearer, device)

    async with breaking_line(port, seed=kills) as line:
        with trio.fail_after(PATIENCE_SECONDS * kills):
            for kill in range(kills):
                async with trio.open_nursery() as nursery:
                    before = len(made)
                    for integrator in range(INTEGRATORS):
                        nursery.start_soon(integrate, f"http://127.0.0.1:{line.port}", f"d-{kill}-{integrator}")
                    while len(made) < before + INTEGRATORS:
                        await trio.sleep(0.01)
                    appliance.kill()
                    await trio.to_thread.run_sync(appliance.start)
        assert line.broken > 0
    wanted = kills * INTEGRATORS * DEVICES
    assert len(made) == wanted
    (devices,) = appliance.query("SELECT count(*) FROM device_registry WHERE tenant_id = 'fleet'")
    (created,) = appliance.query(
        "SELECT count(*) FROM audit_log WHERE tenant_id = 'fleet' AND action = 'device.create'"
    )
    (seats,) = appliance.query("SELECT sum(active_device_count) FROM subscriptions WHERE tenant_id = 'fleet'")
    assert (devices, created, seats) == ((wanted,), (wanted,), (wanted,))
    async with http_client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        me = (await http.get("/customer/me", headers=bearer)).json()
        assert (me["token"]["scopes"], me["email"]) == (["read", "write"], EMAIL)
        configured = int(appliance.settings["APPLIANCE_WEB_API_RATE"])
        assert me["limits"] == {"requests_per_minute": configured, "requests_at_once": configured}
        for device, secrets in made.items():
            answer = await http.post(
                f"/ingest/tenant/fleet/device/{device}/telemetry",
                json={"temperature": 1},
                headers={"Authorization": f"Bearer {secrets['token']}"},
            )
            assert answer.is_success, (device, answer.text)

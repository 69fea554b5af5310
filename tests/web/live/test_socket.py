"""The live WebSocket: who may open it, what it sends and when it closes."""

from dataclasses import replace

import pytest
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection

from appliance.diagnostics.readiness import Health
from appliance.people.role import Role
from appliance.web.access.auth import Viewer
from appliance.web.http.hardening import RequestLimits
from appliance.web.live import parts, socket
from appliance.web.page.formats import MINUS
from tests.support.busy import within
from tests.support.web.live import batch
from tests.support.web.serving import Served, closed_with, page_socket, without_database
from tests.support.web.stand_ins import OPERATOR, Always


async def next_with(page: WebSocketConnection, text: str) -> str:
    """The next update that contains ``text``."""
    with trio.fail_after(30):
        while text not in (update := await page.get_message()):
            pass
    return str(update)


async def refused_with(served: Served, *, page: str = "overview", headers: list[tuple[str, str]] | None = None) -> int:
    """The status with which the WebSocket is refused; the nursery wraps the refusal."""
    with pytest.raises(BaseExceptionGroup) as caught:
        async with page_socket(served, page=page, headers=headers):
            raise AssertionError("it was accepted")
    refusals = caught.value.subgroup(ConnectionRejected)
    assert refusals is not None
    (refusal,) = refusals.exceptions
    assert isinstance(refusal, ConnectionRejected)
    return refusal.status_code


async def test_the_first_update_brings_every_part_but_an_empty_table() -> None:
    async with without_database() as served, page_socket(served) as page:
        first = await page.get_message()
        for part in ("live-state", "banners", "kpi-messages", "kpi-devices", "chart-rate", "reasons"):
            assert f'id="{part}"' in first
        assert 'id="readings"' not in first


async def test_a_committed_batch_is_on_the_page_within_the_interval() -> None:
    async with without_database() as served, page_socket(served) as page:
        await page.get_message()
        served.platform.live.publish(batch())
        update = await next_with(page, 'id="readings"')
        assert "pump-1" in update
        assert "temperature" in update
        assert f"{MINUS}11.8" in update


async def test_only_what_changed_is_sent_again() -> None:
    async with without_database() as served, page_socket(served) as page:
        await page.get_message()
        update = await next_with(page, 'id="live-state"')
        assert 'id="reasons"' not in update
        assert 'id="kpi-devices"' not in update


async def test_silence_of_the_devices_is_no_silence_of_the_socket() -> None:
    """The page takes 5 seconds without an update for a lost connection."""
    async with without_database() as served, page_socket(served) as page:
        with trio.fail_after(within(4)):
            for _ in range(3):
                await page.get_message()


async def test_a_page_on_which_nothing_changes_hears_that_all_is_as_it_was() -> None:
    async def unchanging(seen_by: Viewer) -> list[parts.LivePart]:
        del seen_by
        return [parts.LivePart("one", '<p id="one">1</p>')]

    async with without_database() as served:
        served.app.live_pages.add("unchanging", unchanging)
        async with page_socket(served, page="unchanging") as page:
            with trio.fail_after(within(4)):
                assert [await page.get_message() for _ in range(3)] == ['<p id="one">1</p>', "", ""]


async def test_a_flood_of_batches_is_at_most_four_updates_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SHARED_FOR", 0.0)  # each rendering is new: only the pace holds updates back
    began = trio.current_time()
    async with without_database() as served, page_socket(served) as page, trio.open_nursery() as nursery:

        async def flood() -> None:
            while True:
                served.platform.live.publish(batch(messages=100))
                await trio.sleep(0.001)

        nursery.start_soon(flood)
        with trio.fail_after(30):
            for _ in range(9):
                await page.get_message()
        assert trio.current_time() - began >= 2, "the first at once, each other a quarter of a second later"
        nursery.cancel_scope.cancel()


async def test_two_pages_see_the_same() -> None:
    async with without_database() as served, page_socket(served) as one, page_socket(served) as other:
        served.platform.live.publish(batch("valve-7"))
        await next_with(one, "valve-7")
        await next_with(other, "valve-7")


async def test_a_page_whose_parts_cannot_be_had_hears_nothing_until_they_can() -> None:
    tries: list[Viewer] = []

    async def away_for_a_while(seen_by: Viewer) -> list[parts.LivePart]:
        tries.append(seen_by)
        if 1 < len(tries) < 4:
            raise parts.NotNow("Postgres is away")
        return [parts.LivePart("one", f'<p id="one">{len(tries)}</p>')]

    async with without_database() as served:
        served.app.live_pages.add("unchanging", away_for_a_while)
        async with page_socket(served, page="unchanging") as page:
            with trio.fail_after(within(8)):
                assert [await page.get_message() for _ in range(2)] == ['<p id="one">1</p>', '<p id="one">4</p>']


async def test_while_postgres_is_away_the_socket_says_so_and_goes_on() -> None:
    async with without_database(health=Health("restarting", None, None)) as served, page_socket(served) as page:
        assert "Postgres is not reachable: restarting" in await page.get_message()
        served.platform.live.publish(batch())
        await next_with(page, "pump-1")


@pytest.mark.parametrize(
    "headers", [[("Origin", "http://evil.com")], [("Origin", "null")], []], ids=["foreign", "null", "none"]
)
async def test_only_our_own_pages_may_open_it(headers: list[tuple[str, str]]) -> None:
    async with without_database() as served:
        assert await refused_with(served, headers=headers) == 403


async def test_the_public_address_may_open_it() -> None:
    headers = [("Origin", "https://dash.example.com")]
    async with (
        without_database(public_url="https://dash.example.com") as served,
        page_socket(served, headers=headers) as page,
    ):
        await page.get_message()


async def test_a_page_that_is_not_live_is_404() -> None:
    async with without_database() as served:
        assert await refused_with(served, page="nothing") == 404


async def test_a_peer_that_speaks_is_closed_with_1008() -> None:
    async with without_database() as served, page_socket(served) as page:
        await page.send_message("hello")
        assert await closed_with(page) == 1008


async def test_a_large_message_is_closed_without_being_kept() -> None:
    async with without_database() as served, page_socket(served) as page:
        await page.send_message("x" * 100_000)
        assert await closed_with(page) in {1008, 1009}


async def test_compression_is_not_offered() -> None:
    """A small compressed frame could unpack to any size."""
    extension = ("Sec-WebSocket-Extensions", "permessage-deflate")
    async with (
        without_database() as served,
        page_socket(served, headers=[("Origin", served.url), extension]) as page,
    ):
        assert "permessage-deflate" not in str(page.handshake_headers)


async def test_a_page_that_leaves_frees_its_place() -> None:
    async with without_database(limits=RequestLimits(connections=1)) as served:
        async with page_socket(served) as page:
            await page.get_message()
        await served.places_free()


async def test_a_socket_without_a_session_is_refused() -> None:
    async with without_database(identity=Always(None)) as served:
        assert await refused_with(served) == 401


@pytest.mark.parametrize("change", ["ended", "another role"])
async def test_a_socket_closes_with_its_session(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(socket, "SESSION_EVERY", 0.05)
    identity = Always()
    async with without_database(identity=identity) as served, page_socket(served) as page:
        await page.get_message()
        identity.viewer = None if change == "ended" else replace(OPERATOR, role=Role.VIEWER, tenant_id="acme")
        assert await closed_with(page) == socket.SIGNED_OUT

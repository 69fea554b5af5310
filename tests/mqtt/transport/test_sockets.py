"""What a socket to the broker must bear, and that nothing of it stays open."""

import socket
from pathlib import Path

import pytest
import trio

from appliance.mqtt.inflight import LAST_PACKET_ID, pubacks
from appliance.mqtt.transport import Tcp, Unix
from tests.support.mqtt.opening import open_and_close, opened
from tests.support.scripted_server import scripted_server

BATCH = 2048


async def test_an_acknowledgement_of_every_packet_id_fits_before_the_broker_reads_one(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX) as broker:
        broker.bind(str(path))
        broker.listen()
        async with opened(Unix(str(path))) as stream:
            with trio.fail_after(60):
                for first in range(1, LAST_PACKET_ID, BATCH):
                    await stream.send_all(pubacks(list(range(first, min(first + BATCH, LAST_PACKET_ID + 1)))))


async def test_a_socket_whose_options_cannot_be_set_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[trio.SocketStream] = []

    def refuse(stream: trio.SocketStream, *_: int) -> None:
        streams.append(stream)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(trio.SocketStream, "setsockopt", refuse)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with scripted_server(serve) as port:
        with pytest.raises(OSError, match="Invalid argument"):
            await open_and_close(Tcp("127.0.0.1", port))
    assert {stream.socket.fileno() for stream in streams} == {-1}

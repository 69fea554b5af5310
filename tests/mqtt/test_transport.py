"""What a stream to the broker must bear."""

import socket
from pathlib import Path

import trio

from appliance.mqtt.inflight import LAST_PACKET_ID, pubacks
from appliance.mqtt.transport import Unix

BATCH = 2048


async def test_an_acknowledgement_of_every_packet_id_fits_before_the_broker_reads_one(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX) as broker:
        broker.bind(str(path))
        broker.listen()
        async with await Unix(str(path)).open() as stream:
            with trio.fail_after(60):
                for first in range(1, LAST_PACKET_ID, BATCH):
                    await stream.send_all(pubacks(list(range(first, min(first + BATCH, LAST_PACKET_ID + 1)))))

"""The broker's store deleted while the appliance is down: our session is gone, and devices keep knocking.

A broker without our subscription acknowledges what devices send and drops it. So the one order that loses nothing is:
subscribe, then let devices in (R15).
"""

import time

import trio

from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, Publisher, client, settled, stored

MESSAGES = 200


async def test_with_the_store_gone_devices_are_let_in_only_once_we_have_subscribed(appliance: ApplianceProcess) -> None:
    appliance.start()
    publisher = Publisher(TENANT, (int(time.time()) - 3600) * 1000)
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        await publisher.send(connection, MESSAGES)
        await settled(appliance, MESSAGES)
        assert await trio.to_thread.run_sync(appliance.stop) == 0
        stores = [path for path in appliance.data_dir.glob("mosquitto/mosquitto.*") if path.suffix != ".conf"]
        assert stores
        for store in stores:
            store.unlink()
        # The broker acknowledges each group before the next, the first one as soon as the device listener opens.
        nursery.start_soon(publisher.send, connection, MESSAGES, 20)
        await trio.to_thread.run_sync(appliance.start)
    await settled(appliance, 2 * MESSAGES)
    assert set(stored(appliance)) == publisher.sent
    look(appliance.conninfo())
    log = appliance.log.read_text()
    assert "broker state lost" in log
    assert "another client seems to use our client id" not in log
    assert "Traceback" not in log

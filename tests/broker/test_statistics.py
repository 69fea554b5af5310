"""What the broker says of itself, and brokers that do not let us read it."""

import trio
from mqtt5 import ConnAckPacket, SubAckPacket, SubAckReasonCode, SubscribePacket
from structlog.testing import capture_logs

from appliance.broker.statistics import VERSION, BrokerStatistics
from appliance.diagnostics import reports
from appliance.metrics import Metrics
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import GRANTED, client_of


async def test_a_broker_that_refuses_its_statistics_is_served_all_the_same() -> None:
    broker = ScriptedBroker()
    broker.connack = ConnAckPacket()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            statistics = BrokerStatistics(client_of(broker), Metrics())
            await nursery.start(statistics.run)
            peer = await broker.peer()
            refused = 0
            while True:
                asked = await peer.expect(SubscribePacket)
                last = asked.topic_filters[0].pattern == VERSION
                code = GRANTED if last else SubAckReasonCode.NOT_AUTHORIZED
                await peer.send(SubAckPacket(asked.packet_id, [code]))
                refused += not last
                if last:
                    break
            nursery.cancel_scope.cancel()
    assert refused > 1
    assert len([one for one in logs if "statistics are not shown" in one["event"]]) == 1
    report = reports.report_broker(statistics)()
    assert (report.doing, report.trouble) == ("shows no statistics", None)
    assert "not authorized" in str(report.last_error)

"""Passes each line of the embedded broker's log to those that read it."""

from appliance.broker.client_ids import ClientIds
from appliance.broker.connected_users import ConnectedUsers
from appliance.broker.refusals import BrokerRefusals
from appliance.broker.shut_out import ShutOut
from appliance.clock import Clock
from appliance.metrics import Metrics


class BrokerLog:
    """What is known of the embedded broker from its log; with an external broker nothing is."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.refusals = BrokerRefusals(clock, metrics)
        self.connected = ConnectedUsers()
        self.shut_out = ShutOut(clock)
        self.client_ids = ClientIds(clock, metrics, self.shut_out)

    def heard(self, line: str) -> None:
        """Handle one line."""
        self.refusals.heard(line)
        taken = self.connected.heard(line)
        if taken is not None:
            for refused in self.client_ids.note(taken):
                self.refusals.add(refused)

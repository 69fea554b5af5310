"""The watchdog: what the broker passes on one side, the operator's heartbeat URL on the other."""

from appliance.delivery.outgoing.dialler import Dialler
from appliance.delivery.outgoing.urls import parse
from appliance.errors import ConfigurationError, Invalid
from appliance.mqtt.link import LinkState
from appliance.supervisor.broker import BrokerAccess
from appliance.supervisor.foundation import Foundation
from appliance.watchdog.heartbeat import Heartbeat
from appliance.watchdog.proof import Proof
from appliance.watchdog.watchdog import BrokerPassed, Watchdog


def make_watchdog(base: Foundation, broker: BrokerAccess, proof: Proof, network: Dialler) -> Watchdog:
    """Return the watchdog, to be started once everything else has. Raises ConfigurationError."""
    return Watchdog(proof, _broker_passed(broker), _heartbeat(base, network), base.clock, base.metrics)


def _broker_passed(broker: BrokerAccess) -> BrokerPassed:
    """Return what changes with each probe of the device listener, or whenever a broker elsewhere is heard."""
    probe = broker.listener_probe
    if probe is not None:
        return lambda: probe.arrived
    client, heard_at = broker.client, 0.0

    def session() -> float:
        nonlocal heard_at
        if client.link.state is LinkState.READY:
            heard_at = client.heard_at
        return heard_at

    return session


def _heartbeat(base: Foundation, network: Dialler) -> Heartbeat | None:
    given = base.config.delivery.heartbeat_url
    if given is None:
        return None
    try:
        return Heartbeat(network.anywhere(), parse(given.reveal(), "delivery.heartbeat_url"))
    except Invalid as fault:  # its words quote nothing of the address
        raise ConfigurationError(f"delivery.heartbeat_url: {fault}") from None

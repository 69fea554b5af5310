"""The service time of the appliance that a command is about: from the record in ``data_dir``."""

import os

from appliance.config import Config
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.machine import this_machine


def service_clock(config: Config) -> ServiceClock:
    """Return the clock of the appliance on ``data_dir``, running or not; this process leaves its record alone."""
    return ServiceClock(config.data_dir, this_machine(os.environ))

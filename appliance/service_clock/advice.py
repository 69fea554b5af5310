"""The doubt about the wall clock in words: what is wrong, and what to do. The same on the page and on the console."""

from collections.abc import Mapping

from appliance.service_clock.service_time import Cause

CAUSES: Mapping[Cause, str] = {
    Cause.BEFORE_BUILD: "It shows a time before this program was built.",
    Cause.BEHIND: "It is more than 10 minutes behind the newest time that this appliance has recorded.",
    Cause.AHEAD: "It is more than 30 days ahead of the newest time that this appliance has recorded.",
    Cause.OFF: "It was set, or it stopped: it is more than 10 minutes off the service time.",
}
EFFECT = (
    "Messages are accepted as always. Nothing is dropped, no term and no session ends, and no device is called silent "
    "until the clock is right."
)
MEND = (
    "Let NTP set the machine's clock (`timedatectl set-ntp true`), or set it (`timedatectl set-time`). "
    "If the machine's clock is right as it is, confirm it."
)

"""Whether notices are sent: after a restore they wait for somebody who says that the old machine is off."""

from collections.abc import Iterable

from appliance.delivery.outbox import restore_hold
from appliance.delivery.outbox.restore_hold import RestoreHold
from appliance.doctor.check import Finding, Sight, advised


async def look_at_hold(sight: Sight) -> RestoreHold | None:
    """Return the hold on notices, if there is one."""
    return await restore_hold.read(sight.database)


def judge_hold(seen: RestoreHold | None) -> Iterable[Finding]:
    """Judge whether notices are sent."""
    if seen is not None:
        yield advised(
            f"no notice is sent since {seen.restored_at:%Y-%m-%d %H:%M} UTC, when the backup of"
            f" {seen.made_at:%Y-%m-%d %H:%M} UTC was restored",
            "once the old machine is off: `appliance confirm-restore`",
        )

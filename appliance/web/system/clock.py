"""The clock on the System page: what the appliance goes by, what the machine shows, and their doubt."""

from typing import Protocol

import msgspec

from appliance.service_clock import confirmations
from appliance.service_clock.advice import CAUSES, MEND
from appliance.service_clock.service_time import Cause, Doubt, Instant, Step
from appliance.web.platform import Platform


class ServiceClock(Protocol):
    """The clock of this process: :class:`appliance.service_clock.clock.ServiceClock`."""

    @property
    def trusted(self) -> bool: ...
    @property
    def doubt(self) -> Doubt | None: ...
    def now(self) -> float: ...
    def wall(self) -> float: ...
    def wall_instant(self) -> Instant: ...
    def confirm(self, confirmed: Instant) -> Step | None: ...


class ClockView(msgspec.Struct, frozen=True):
    """The clocks as they are now, in seconds since 1970."""

    trusted: bool
    """Whether the machine's clock agrees with the service time; while it does not, nothing is dropped or ends."""
    service_time: float
    machine_time: float
    cause: Cause | None
    """Why the machine's clock is in doubt; null while it is trusted."""
    doubted_since: float | None
    explanation: str | None
    mend: str | None


class Confirmed(msgspec.Struct, frozen=True):
    """The time of the machine that was confirmed, in seconds since 1970."""

    machine_time: float


def view_of(clock: ServiceClock) -> ClockView:
    """Return the clocks as they are now."""
    doubt = clock.doubt
    return ClockView(
        trusted=doubt is None,
        service_time=clock.now(),
        machine_time=clock.wall(),
        cause=None if doubt is None else doubt.cause,
        doubted_since=None if doubt is None else doubt.since,
        explanation=None if doubt is None else CAUSES[doubt.cause],
        mend=None if doubt is None else MEND,
    )


def difference(view: ClockView) -> str:
    """Return by how much the machine's clock is off, in words: ``14 h ahead``."""
    seconds = view.machine_time - view.service_time
    days, rest = divmod(round(abs(seconds)), 86_400)
    years, days = divmod(days, 365)
    hours, minutes = rest // 3600, rest % 3600 // 60
    parts = [(years, "years"), (days, "days"), (hours, "h"), (minutes, "min")]
    named = [f"{number} {unit.removesuffix('s') if number == 1 else unit}" for number, unit in parts if number][:2]
    return f"{' '.join(named) or 'less than a minute'} {'ahead' if seconds > 0 else 'behind'}"


class ClockActions:
    """Confirms the machine's clock for the current viewer, an operator."""

    def __init__(self, platform: Platform, instance: str, clock: ServiceClock) -> None:
        self._access = platform.access
        self._instance = instance
        self._clock = clock

    def view(self) -> ClockView:
        """Return the clocks as they are now."""
        return view_of(self._clock)

    async def confirm(self, shown: float | None) -> Confirmed:
        """Confirm the machine's clock; it is followed within a second.

        ``shown`` is what it showed when the viewer was asked. Raises Conflict when it is trusted, was set since, or is
        before the build date.
        """
        async with self._access.changing() as connection:
            confirmed = await confirmations.confirm(
                connection, self._instance, self._clock, self._access.context(), shown=shown
            )
        return Confirmed(confirmed.time)

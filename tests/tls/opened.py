"""An open service of certificates whose clock the test sets and which looks when the test says so."""

from datetime import UTC, datetime, timedelta

from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.certificates import Certificate, Certificates
from tests.support.clock import DoubtfulClock

DAY = timedelta(days=1)


class Changes:
    """How often a service has told of a change."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        self.count += 1


async def opened(certificates: Certificates) -> Changes:
    """Open the service, and count the changes that it tells of afterwards."""
    await certificates.open()
    changes = Changes()
    certificates.subscribe(changes.add)
    return changes


def clock_of_tests() -> DoubtfulClock:
    """Return a trusted clock, 100 days after the build."""
    now = BUILD_DATE.timestamp() + 100 * 86_400
    return DoubtfulClock(now, now, trusted=True)


def service_time(clock: DoubtfulClock) -> datetime:
    """Return what the clock says."""
    return datetime.fromtimestamp(clock.now(), UTC)


def known(certificate: Certificate | None) -> Certificate:
    """Return a certificate that there must be."""
    assert certificate is not None
    return certificate

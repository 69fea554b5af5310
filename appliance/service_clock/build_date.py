"""The build date: no right clock shows a time before it.

It is a constant of the program and not the time of a file or of a build, so that a wheel, an image and a checkout
agree, and two builds of one version are equal. A test holds it between the newest release in CHANGELOG.md and today.
"""

from datetime import UTC, datetime

BUILD_DATE = datetime(2026, 11, 23, tzinfo=UTC)
"""Move it with each release; an earlier date is never wrong, only less telling."""

"""What the tests of every type share."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from appliance import logs
from appliance.config.schema import Log


@pytest.fixture
def debug_log() -> Iterator[io.StringIO]:
    """Give what the process logs, at debug level."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure(Log(level="debug", format="json"), written)
    yield written
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()

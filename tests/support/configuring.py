"""A configuration file of a test, read as the program reads it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.config import Loaded, load
from appliance.errors import ConfigurationError

STRONG = "correct horse battery"
"""A password that is taken."""


def load_text(text: str | bytes, environ: Mapping[str, str] | None = None) -> Loaded:
    """Return what ``text`` as appliance.toml of the present folder, and the environment, come to."""
    file = Path("appliance.toml")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o640)
    return load(None, environ or {})


def fault_of(text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the one line that refuses ``text``."""
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, environ)
    message = str(caught.value)
    assert message.isprintable(), "one line, no control characters"
    assert caught.value.exit_code == 2
    return message

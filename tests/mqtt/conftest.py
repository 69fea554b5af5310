"""Fixtures of the client's tests."""

import pytest

from tests.support.mqtt.scripted_broker import ScriptedBroker


@pytest.fixture
def broker() -> ScriptedBroker:
    """A broker in memory that accepts whoever connects."""
    return ScriptedBroker()

"""Fixtures of the tests of quarantine."""

import pytest

from appliance.ingest.quarantine import replayer as replay_module


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages a slice."""
    monkeypatch.setattr(replay_module, "REPLAY_ROWS", 10)

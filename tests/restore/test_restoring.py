"""A restore that fails before anything is moved says that nothing was."""

from pathlib import Path

import pytest

from appliance.errors import ApplianceError, Conflict
from appliance.restore.restoring import raise_untouched

FAILED = ApplianceError("psql failed: no room")


@pytest.mark.parametrize(
    "error",
    [FAILED, OSError("psql failed: no room"), ExceptionGroup("nursery", [ExceptionGroup("nursery", [FAILED])])],
    ids=["error", "disk", "nurseries"],
)
def test_what_people_can_mend_is_told_with_what_is_there(error: Exception) -> None:
    with pytest.raises(ApplianceError, match=r"^psql failed: no room\. What was in /data is as it was$"):
        raise_untouched(Path("/data"), error)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        Conflict("busy"),
        ValueError("a fault"),
        BaseExceptionGroup("", [FAILED, KeyboardInterrupt()]),
    ],
    ids=["interrupt", "conflict", "fault", "interrupted"],
)
def test_any_other_error_stays_what_it_is(error: BaseException) -> None:
    raise_untouched(Path("/data"), error)

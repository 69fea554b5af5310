"""Run the checks: each for itself, so that one that fails leaves the others to be read."""

from collections.abc import Sequence
from typing import Any

import psycopg
import trio

from appliance.doctor.check import Check, Result, Sight, Status, UnseenError
from appliance.errors import ApplianceError

CHECK_SECONDS = 60.0
"""Seconds for one check; the largest, which counts the devices, takes some of them on the largest database."""
_WORST_FIRST = (Status.BROKEN, Status.ADVICE)


async def examine(checks: Sequence[Check[Any]], sight: Sight) -> list[Result]:
    """Return the result of each check, in their order."""
    return [await _examine_one(check, sight) for check in checks]


async def _examine_one(check: Check[Any], sight: Sight) -> Result:
    try:
        with trio.fail_after(CHECK_SECONDS):
            seen = await check.look(sight)
    except trio.TooSlowError:
        return _unseen(check, f"took longer than {CHECK_SECONDS:.0f} s")
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
        return _unseen(check, "the schema is not complete: see migrations")
    except psycopg.errors.UndefinedObject:
        return _unseen(check, "a role is missing: see roles")
    except (UnseenError, ApplianceError, psycopg.Error, OSError) as error:
        return _unseen(check, str(error).strip().partition("\n")[0] or type(error).__name__)
    findings = tuple(check.judge(seen))
    found = {finding.status for finding in findings}
    status = next((each for each in _WORST_FIRST if each in found), Status.OK)
    return Result(check.name, check.promise, status, findings, mend=check.mend if findings else None)


def _unseen(check: Check[Any], reason: str) -> Result:
    return Result(check.name, check.promise, Status.UNSEEN, reason=reason)

"""The record of the service time on disk: a small file in ``data_dir``, from which the next start goes on."""

from pathlib import Path

import msgspec
import structlog

from appliance.children.files import write_atomically
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded

NAME = "clock.json"

log = structlog.get_logger(__name__)


class _File(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of the file. Times are seconds since 1970 UTC, ``elapsed`` is seconds since the boot."""

    service_time: float
    elapsed: float
    boot_id: str
    trusted: bool
    cause: Cause | None = None
    doubt_since: float | None = None


def read(data_dir: Path) -> Recorded | None:
    """Return what was recorded last; None without a record. One that cannot be read counts as none, and is logged."""
    path = data_dir / NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the record of the clock cannot be read", file=str(path), error=str(error))
        return None
    doubt = None
    if not found.trusted and found.cause is not None and found.doubt_since is not None:
        doubt = Doubt(found.cause, found.doubt_since)
    return Recorded(Instant(found.service_time, found.elapsed, found.boot_id), doubt)


def write(data_dir: Path, recorded: Recorded) -> None:
    """Replace the record. Raises OSError, on a full disk for example; the record is then as it was before."""
    instant, doubt = recorded.instant, recorded.doubt
    content = _File(
        instant.time,
        instant.elapsed,
        instant.boot_id,
        doubt is None,
        None if doubt is None else doubt.cause,
        None if doubt is None else doubt.since,
    )
    write_atomically(data_dir / NAME, msgspec.json.encode(content) + b"\n")

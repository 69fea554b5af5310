"""Checks of the appliance itself: that it lives, that it is ready, and that its configuration means what it says."""

import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from appliance.children.data_dir import SOCKETS
from appliance.config import warnings
from appliance.diagnostics import liveness
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken

PATIENCE_SECONDS = 5.0
"""Seconds for an answer of the appliance."""
STOPPED = "the appliance does not run"


@dataclass(frozen=True, slots=True)
class Life:
    """Whether the process answers; ``fault`` is why not."""

    fault: str | None


async def look_at_life(sight: Sight) -> Life:
    """Return whether the running appliance answers. Raises UnseenError if none runs."""
    if sight.run is None:
        raise UnseenError(STOPPED)
    return Life(await liveness.ask(sight.config.data_dir / SOCKETS, PATIENCE_SECONDS))


def judge_life(seen: Life) -> Iterable[Finding]:
    """Judge whether the process answers."""
    if seen.fault is not None:
        yield broken(f"the appliance does not answer: {seen.fault}", "restart it, and keep its log")


class Readiness(msgspec.Struct, frozen=True):
    """What /readyz says, as far as it is judged: names of parts, with what is wrong."""

    missing: dict[str, str] = {}
    failing: dict[str, str] = {}
    warnings: dict[str, str] = {}


async def look_at_readiness(sight: Sight) -> Readiness:
    """Return what the running appliance says of itself. Raises UnseenError if none runs, or it does not answer."""
    if sight.run is None:
        raise UnseenError(STOPPED)
    url = f"{sight.run.web_url.rstrip('/')}/readyz"
    try:
        return msgspec.json.decode(await trio.to_thread.run_sync(partial(_read, url)), type=Readiness)
    except msgspec.MsgspecError:
        raise UnseenError(f"{url} is answered by something else") from None


def _read(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this machine that answers
    try:
        with opener.open(url, timeout=PATIENCE_SECONDS) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:  # 503 has the same body
        return error.read()
    except (OSError, ValueError) as error:
        raise UnseenError(f"{url} does not answer: {error}") from None


def judge_readiness(seen: Readiness) -> Iterable[Finding]:
    """Judge whether messages are accepted and stored; of an external broker also, how long it keeps our session."""
    for part, trouble in {**seen.missing, **seen.failing}.items():
        yield broken(f"{part}: {trouble}", "see the System page and the log")
    for part, trouble in seen.warnings.items():
        yield advised(f"{part}: {trouble}", "see the System page, which says what to do")


async def look_at_configuration(sight: Sight) -> Sequence[tuple[str, str]]:
    """Return what works in the configuration and may not be what is meant."""
    return list(warnings(sight.config))


def judge_configuration(doubts: Sequence[tuple[str, str]]) -> Iterable[Finding]:
    """Judge the configuration; what is wrong in it is refused by every command."""
    for key, message in doubts:
        yield advised(f"{key} {message}", "see appliance.toml, which explains every key")

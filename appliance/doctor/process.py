"""Checks of the appliance itself: that it lives, that it is ready, and that its configuration means what it says."""

import ssl
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
from appliance.mqtt.transport import BROKEN, transport_to

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
    # It is this machine that answers, and no secret is sent: that the certificate is right, others have to judge.
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
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


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether the external broker could be reached, handshake of TLS included; ``fault`` is why not."""

    name: str
    fault: str | None


async def look_at_broker(sight: Sight) -> Reached:
    """Return whether the external broker can be reached. Says nothing there, so that no session of ours is touched.

    Raises UnseenError where the broker is embedded: ``ready`` and ``ports`` judge that one.
    """
    address = sight.config.broker.address()
    if address is None:
        raise UnseenError("the broker is embedded: see ready and ports")
    transport = transport_to(address, sight.config.broker.tls_files())
    fault: str | None = f"no answer within {PATIENCE_SECONDS:.0f} s"
    async with trio.open_nursery() as tasks:
        with trio.move_on_after(PATIENCE_SECONDS):
            try:
                await trio.aclose_forcefully(await transport.open(tasks))
            except BROKEN as error:
                fault = _first_line(error)
            else:
                fault = None
        tasks.cancel_scope.cancel()
    return Reached(transport.name, fault)


def _first_line(error: BaseException) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0] or type(error).__name__


def judge_broker(seen: Reached) -> Iterable[Finding]:
    """Judge whether the external broker can be reached."""
    if seen.fault is not None:
        yield broken(
            f"the broker at {seen.name} cannot be reached: {seen.fault}",
            "start it, or correct broker.url and the files of TLS",
        )


async def look_at_configuration(sight: Sight) -> Sequence[tuple[str, str]]:
    """Return what works in the configuration and may not be what is meant."""
    return list(warnings(sight.config))


def judge_configuration(doubts: Sequence[tuple[str, str]]) -> Iterable[Finding]:
    """Judge the configuration; what is wrong in it is refused by every command."""
    for key, message in doubts:
        yield advised(f"{key} {message}", "see appliance.toml, which explains every key")

"""The certificates of the two listeners, kept up to date: the service around what is pure in this package.

data_dir/tls/
  ca.pem, ca.key   our own authority, made once; devices and people trust it by its certificate
  leaf.pem         the certificate of both listeners with its key, in one file, so that both are replaced at once

Certificates by file are copied into a private folder that is gone with the process: a listener reads the copy, which
was checked as a whole, never a file that somebody is writing.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import trio

from appliance.children.files import make_folder
from appliance.clock import Clock
from appliance.errors import ApplianceError
from appliance.runtime.periodic import every
from appliance.tls.authority import Authority
from appliance.tls.by_file import FileCertificate
from appliance.tls.configured import Source
from appliance.tls.dates import Moment
from appliance.tls.names import Names
from appliance.tls.own import OwnCertificate
from appliance.tls.pair import Pair, PairError

LOOK_SECONDS = 30.0
"""Seconds between two looks at addresses and files: a new address has its certificate within a minute."""
RETRY_SECONDS = 2.0
"""Seconds after files that cannot be used: whoever replaces two of them is between both for a moment."""
WARNING = timedelta(days=30)
"""Before the end of a certificate: somebody has to renew it. Ours is renewed long before."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of a listener."""

    chain_file: Path
    key_file: Path
    """The same file, which is replaced at once."""
    names: tuple[str, ...]
    not_after: datetime
    fingerprint: str
    """The SHA-256 in hex, with colons."""
    own: bool
    """Whether our own authority has issued it."""
    chain_digest: str
    """The SHA-256 of all that is shown: one whose intermediate certificate was forgotten at first has the same leaf."""


@dataclass(frozen=True, slots=True)
class LookResult:
    """What one look has found: a certificate with its file by listener, and why that of another is the one before."""

    certificates: Mapping[str, Certificate]
    troubles: Mapping[str, str]


class Certificates:
    """A service: :meth:`open` it, then run it."""

    def __init__(
        self,
        folder: Path,
        copies: Path,
        sources: Mapping[str, Source | None],
        names: Callable[[], Names],
        clock: Clock,
    ) -> None:
        """``folder`` keeps our authority, ``copies`` is a private folder of this process. ``sources`` has an entry for
        each listener under TLS, ``web`` and ``broker``: its files, or None for a certificate of our own. ``names``
        looks up what this machine is called now."""
        self._copies = copies
        self._names = names
        self._clock = clock
        self._own = OwnCertificate(folder)
        self._by_file = {
            name: FileCertificate(source, copies / f"{name}.pem")
            for name, source in sources.items()
            if source is not None
        }
        self._of_ours = [name for name, source in sources.items() if source is None]
        self._callbacks: list[Callable[[], None]] = []
        self._current: Mapping[str, Certificate] = {}
        self._failed_before: Mapping[str, str] = {}
        self._expiring: list[tuple[str, Certificate]] = []
        self._wake = trio.Event()
        self.troubles: Mapping[str, str] = {}
        """Why the files of a listener cannot be used, which goes on with what it has, by listener."""
        self.left_out: tuple[str, ...] = ()
        """Names of this machine that our authority may not sign."""

    @property
    def web(self) -> Certificate | None:
        """Return the certificate of the dashboard; None without TLS."""
        return self._current.get("web")

    @property
    def broker(self) -> Certificate | None:
        """Return the certificate of the devices' listener; None without one under TLS."""
        return self._current.get("broker")

    @property
    def ca(self) -> Authority | None:
        """Return our own authority; None where no listener has a certificate of it."""
        return self._own.authority

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after a certificate has changed, in the loop. It must not block."""
        self._callbacks.append(callback)

    def expiring(self, now: datetime) -> Sequence[tuple[str, Certificate]]:
        """Return the listeners whose certificate ends within WARNING of ``now``, with it.

        While the clock is in doubt nobody knows: what was known before stays.
        """
        if self._clock.trusted:
            self._expiring = [each for each in sorted(self._current.items()) if each[1].not_after - WARNING <= now]
        return [(name, one) for name, one in self._expiring if self._current.get(name) == one]

    def look_now(self) -> None:
        """Look at once, and not at the end of the interval."""
        self._wake.set()

    async def open(self) -> None:
        """Make or read what there is. Raises ApplianceError for what people have to mend."""
        try:
            found = await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        except OSError as error:
            where = error.filename or "the folder of certificates"
            raise ApplianceError(
                f"{where} cannot be used ({error.strerror}): the appliance's user must be able to read and write it"
            ) from error
        for name, trouble in found.troubles.items():
            raise ApplianceError(self._with_setting(name, trouble))
        self._current = found.certificates

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look again every LOOK_SECONDS, for ever."""
        await every(LOOK_SECONDS, self.look, chore="certificates", woken=self._woken, task_status=task_status)

    async def _woken(self) -> None:
        await self._wake.wait()
        self._wake = trio.Event()

    async def look(self) -> float | None:
        """Look once, and tell what has changed. Returns the seconds after which to look again, None for the usual."""
        found = await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        before, self._current = self._current, {**self._current, **found.certificates}
        # Told when they fail twice in a row: whoever replaces two files is between both for a moment.
        failed, self._failed_before = self._failed_before, found.troubles
        told, self.troubles = self.troubles, {name: why for name, why in found.troubles.items() if name in failed}
        for name, why in self.troubles.items():
            if told.get(name) != why:
                log.error("the certificate before is kept", listener=name, cause=self._with_setting(name, why))
        if before != self._current:
            for name, one in self._current.items():
                if before.get(name) != one:
                    log.info("certificate changed", listener=name, fingerprint=one.fingerprint)
            for callback in self._callbacks:
                callback()
        return RETRY_SECONDS if found.troubles.keys() - self.troubles.keys() else None

    def _look(self) -> LookResult:
        """Return what holds now. In a thread: it reads and writes files. Raises ApplianceError and OSError."""
        moment = Moment(datetime.fromtimestamp(self._clock.now(), UTC), self._clock.trusted)
        found: dict[str, Certificate] = {}
        troubles: dict[str, str] = {}
        if self._by_file:
            make_folder(self._copies, 0o700)
        for name, by_file in self._by_file.items():
            try:
                pair = by_file.refresh(moment.now if moment.trusted else None)
            except PairError as error:
                troubles[name] = str(error)
            else:
                found[name] = _certificate(pair, by_file.copy, own=False)
        if self._of_ours:
            names = self._names()
            certificate = _certificate(self._own.refresh(names, moment), self._own.file, own=True)
            found.update(dict.fromkeys(self._of_ours, certificate))
            self._note_left_out(names)
        return LookResult(found, troubles)

    def _note_left_out(self, names: Names) -> None:
        assert self._own.authority is not None  # noqa: S101 - for the type checker; it has just issued
        allowed = names.within(self._own.authority.domains)
        left_out = tuple(text for text in names.texts if text not in allowed.texts)
        if left_out != self.left_out:
            self.left_out = left_out
            if left_out:
                log.warning("the certificate authority may not sign these names", names=" ".join(left_out))

    def _with_setting(self, name: str, trouble: str) -> str:
        """Return a trouble, preceded by the setting that names the file."""
        return self._by_file[name].source.with_setting(trouble)


def _certificate(pair: Pair, file: Path, *, own: bool) -> Certificate:
    shown = hashlib.sha256(pair.pem).hexdigest()
    return Certificate(file, file, pair.names.texts, pair.not_after, pair.fingerprint, own, shown)

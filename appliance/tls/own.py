"""Our own authority and the certificate it has issued, in the data folder."""

from pathlib import Path

import structlog
from cryptography.exceptions import InvalidSignature

from appliance.children.files import make_folder, write_atomically
from appliance.errors import ApplianceError
from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.authority import Authority, AuthorityError, issue, make_authority, read_authority
from appliance.tls.dates import Dates, Moment, dates_of_new, is_due, within
from appliance.tls.names import Names
from appliance.tls.pair import Files, Pair, PairError, read_pair

AUTHORITY, AUTHORITY_KEY, LEAF = "ca.pem", "ca.key", "leaf.pem"

log = structlog.get_logger(__name__)


class OwnCertificate:
    """The certificate that our authority has issued. Reads and writes files: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leaf: Pair | None = None
        self.authority: Authority | None = None

    @property
    def file(self) -> Path:
        """Return the file that holds the certificate and its key."""
        return self._folder / LEAF

    def refresh(self, names: Names, moment: Moment) -> Pair:
        """Return the certificate for ``names``, a new one where it is due.

        Raises ApplianceError; OSError where there is no room for the first one. Without room for a later one, the one
        before goes on.
        Names that our authority may not sign are left out: with one of them, verifiers would refuse the certificate as
        a whole. Names that have gone stay in it until the next one.
        """
        if self.authority is None:
            self.authority = self._open(names)
            self._leaf = self._read_leaf(self.authority)
        wanted, leaf = names.within(self.authority.domains), self._leaf
        dates = None if leaf is None else Dates(leaf.leaf.not_valid_before_utc, leaf.leaf.not_valid_after_utc)
        new = within(dates_of_new(moment, dates), self.authority.not_after)
        # At the end of its authority a certificate is due, and another one would not hold any longer.
        due = dates is None or (is_due(dates, moment) and new != dates)
        if leaf is None or due or not leaf.names.covers(wanted):
            try:
                leaf = self._issue(self.authority, wanted, new)
            except OSError as error:
                if leaf is None:
                    raise
                log.warning("the certificate before is kept: the new one cannot be written", error=str(error))
        return leaf

    def _issue(self, authority: Authority, names: Names, dates: Dates) -> Pair:
        text = issue(authority, names, dates.begins, dates.ends)
        pair = read_pair(text, text, Files(self.file, self.file), None)
        write_atomically(self.file, text)
        self._leaf = pair
        log.info("certificate issued", names=" ".join(names.texts), until=f"{pair.not_after:%Y-%m-%d}")
        return pair

    def _open(self, names: Names) -> Authority:
        """Return the authority of the folder, made at the first start."""
        make_folder(self._folder, 0o700)
        pem, key = self._folder / AUTHORITY, self._folder / AUTHORITY_KEY
        if not pem.exists():  # it is written last: without it nobody has trusted this authority yet
            # No clock is asked for its dates: no right one is before the build date, and it outlives any wrong one.
            authority, key_pem = make_authority(names, BUILD_DATE)
            write_atomically(key, key_pem)
            write_atomically(pem, authority.pem)
            log.info("certificate authority made", fingerprint=authority.fingerprint)
            return authority
        try:
            return read_authority(pem.read_bytes(), key.read_bytes())
        except FileNotFoundError:
            fault = f"{key} is missing"
        except AuthorityError as error:
            fault = f"{pem} and {key} cannot be used ({error})"
        raise ApplianceError(
            f"{fault}: restore both from a backup, or remove {pem} for a new authority, which people and devices have "
            "to trust anew"
        )

    def _read_leaf(self, authority: Authority) -> Pair | None:
        """Return the certificate of the folder if it is whole and of this authority; else None, for a new one."""
        try:
            content = self.file.read_bytes()
            pair = read_pair(content, content, Files(self.file, self.file), None)
            pair.leaf.verify_directly_issued_by(authority.certificate)
        except FileNotFoundError:
            return None
        except (PairError, ValueError, TypeError, InvalidSignature) as error:
            log.warning("the certificate of this appliance is issued anew", cause=str(error))
            return None
        return pair

"""The check of certificates: those that the configuration names, and that which the appliance has issued itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from appliance.config import Config
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken
from appliance.tls.authority import AuthorityError, read_authority
from appliance.tls.by_file import contents_of
from appliance.tls.configured import Source, configured_names, sources_of
from appliance.tls.names import names_of
from appliance.tls.own import AUTHORITY, AUTHORITY_KEY, LEAF
from appliance.tls.pair import Files, PairError, read_pair

WARNING = timedelta(days=30)
"""Before the end of a certificate."""
RESTART = "replace the file by its renewed certificate, and start the appliance again"
REPLACE = "replace the files by the renewed certificate; they are read within a minute"
START = "start the appliance, which renews it"
CORRECT = "correct the file, or the key of the configuration"


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file of certificates."""

    key: str
    """The key of the configuration, or whose it is."""
    path: Path
    ends: datetime | None
    """The end of the first that ends; None if the file cannot be used."""
    fault: str | None
    now: datetime | None
    """Service time; None while it is in doubt."""
    renewal: str
    """How it is renewed."""
    mend: str = CORRECT
    """What to do about a fault."""
    left_out: tuple[str, ...] = ()
    """Names of the configuration that it is not for, since its authority may not sign them."""


async def look_at_certificates(sight: Sight) -> Sequence[CertificateFile]:
    """Return the certificates that the configuration names, and our own. Raises UnseenError if there are none.

    Whether key and certificate of a client belong together is judged with the configuration, which every command reads.
    """
    broker, mail = sight.config.broker, sight.config.mail
    wanted = {
        "broker.ca_file": broker.ca_file,
        "broker.client_certificate_file": broker.client_certificate_file,
        "mail.ca": mail.ca,
    }
    now = datetime.fromtimestamp(sight.clock.now(), UTC) if sight.clock.trusted else None
    found = [_certificate(key, path, now) for key, path in wanted.items() if path is not None]
    found += _of_listeners(sight.config, now)
    if not found:
        raise UnseenError("there is none: no listener is under TLS, and the configuration names no file")
    return found


def _certificate(key: str, path: Path, now: datetime | None) -> CertificateFile:
    try:
        ends = min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        fault = f"{key}: {path} cannot be used: {getattr(error, 'strerror', None) or error}"
        return CertificateFile(key, path, None, fault, now, RESTART)
    return CertificateFile(key, path, ends, None, now, RESTART)


def _of_listeners(config: Config, now: datetime | None) -> Iterator[CertificateFile]:
    sources = sources_of(config)
    yield from (_by_file(source, now) for source in sources.values() if source is not None)
    if None in sources.values() and (config.data_dir / "tls" / AUTHORITY).exists():
        yield _own(config, now)


def _by_file(source: Source, now: datetime | None) -> CertificateFile:
    path = source.files.certificate
    key = source.settings[path]
    try:
        pair = read_pair(*contents_of(source.files), source.files, None)
    except PairError as error:
        return CertificateFile(key, path, None, source.with_setting(str(error)), now, REPLACE)
    return CertificateFile(key, path, pair.not_after, None, now, REPLACE)


def _own(config: Config, now: datetime | None) -> CertificateFile:
    folder = config.data_dir / "tls"
    path, key = folder / LEAF, "the certificate of this appliance"
    try:
        authority = read_authority((folder / AUTHORITY).read_bytes(), (folder / AUTHORITY_KEY).read_bytes())
    except (OSError, AuthorityError) as error:
        fault = f"the authority of this appliance cannot be used, so that it does not start again: {error}"
        mend = (
            f"restore {AUTHORITY} and {AUTHORITY_KEY} from a backup; or, before the next start, remove "
            f"{folder / AUTHORITY} for a new authority, which people and devices have to trust anew"
        )
        return CertificateFile(key, path, None, fault, now, START, mend)
    try:
        content = path.read_bytes()
        pair = read_pair(content, content, Files(path, path), None)
    except (OSError, PairError) as error:
        fault = f"{key} cannot be used: {error}"
        return CertificateFile(key, path, None, fault, now, START, START)
    configured = names_of(configured_names(config))
    allowed = configured.within(authority.domains)
    left_out = tuple(host for host in configured.hosts if host not in allowed.hosts)
    return CertificateFile(key, path, pair.not_after, None, now, START, left_out=left_out)


def judge_certificates(files: Sequence[CertificateFile]) -> Iterable[Finding]:
    """Judge whether certificates can be used, now and for some weeks, and by every name."""
    for each in files:
        if each.fault is not None:
            yield broken(each.fault, each.mend)
        elif each.ends is not None and each.now is not None and each.ends <= each.now + WARNING:
            text = f"{each.key}: a certificate in {each.path} ends on {each.ends:%Y-%m-%d}"
            yield (
                broken(f"{text}, which has passed", each.renewal)
                if each.ends <= each.now
                else advised(text, each.renewal)
            )
        if each.left_out:
            yield advised(
                f"{each.key} is not for {', '.join(each.left_out)}, which its authority may not sign",
                f"reach it by another name, or stop the appliance and remove {each.path.with_name(AUTHORITY)}: the "
                "next start makes a new authority for these names, which people and devices have to trust anew",
            )

"""What a certificate by file may be, and what is said of one that cannot be used."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.tls.pair import Files, Pair, PairError, read_pair
from tests.support.pki import DAY, Issued, authority, issuer_address, server

FILES = Files(Path("/etc/web.pem"), Path("/etc/web.key"))
ROOT = Issued("A root", extensions=authority())
BETWEEN = Issued("An intermediate", ROOT, extensions=(*authority(), issuer_address()))
LEAF = Issued("gw.example", BETWEEN, extensions=(server(), issuer_address()))
ALONE = Issued("gw.example")
OTHER = Issued("other.example")


def read(chain: bytes, key: bytes, now: datetime | None = None) -> Pair:
    return read_pair(chain, key, FILES, now or datetime.now(UTC))


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (ALONE.pem, ALONE.key_pem()),
        (LEAF.pem + BETWEEN.pem, LEAF.key_pem()),
        (LEAF.pem + BETWEEN.pem + ROOT.pem, LEAF.key_pem()),
        (b"Bag Attributes\n" + LEAF.pem + b"\n\nsubject=x\n" + BETWEEN.pem, LEAF.key_pem()),
        (LEAF.pem.replace(b"\n", b"\r\n") + BETWEEN.pem, LEAF.key_pem().replace(b"\n", b"\r\n")),
    ],
    ids=["self-signed", "chain", "with its root", "with words between", "line ends of Windows"],
)
def test_it_is_taken_with_its_chain(chain: bytes, key: bytes) -> None:
    pair = read(chain, key)
    assert pair.names.hosts == ("gw.example",)
    assert pair.pem.count(b"BEGIN CERTIFICATE") == chain.count(b"BEGIN CERTIFICATE")
    assert pair.pem.rstrip().endswith(b"-----END PRIVATE KEY-----")


def test_both_may_stand_in_one_file_and_a_key_of_openssl_beside_its_parameters() -> None:
    both = ALONE.key_pem() + ALONE.pem
    assert read(both, both).leaf == ALONE.certificate
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert read(ALONE.pem, parameters + ALONE.key_pem()).leaf == ALONE.certificate


def test_rsa_keys_of_2048_bits_are_taken() -> None:
    one = Issued("gw.example", key=rsa.generate_private_key(65537, 2048))
    assert read(one.pem, one.key_pem()).leaf == one.certificate


BAD: dict[str, tuple[Callable[[], tuple[bytes, bytes]], str]] = {
    "nothing": (lambda: (b"", ALONE.key_pem()), "/etc/web.pem holds no certificate"),
    "half a certificate": (lambda: (LEAF.pem[:300], LEAF.key_pem()), "/etc/web.pem holds a certificate that is cut"),
    "half a chain": (
        lambda: (LEAF.pem + BETWEEN.pem[:200], LEAF.key_pem()),
        "/etc/web.pem holds a certificate that is cut off",
    ),
    "flipped": (lambda: (ALONE.pem.replace(b"\nMII", b"\nAAA", 1), ALONE.key_pem()), "cannot be read"),
    "no key": (lambda: (ALONE.pem, b""), "/etc/web.key holds no private key"),
    "half a key": (lambda: (ALONE.pem, ALONE.key_pem()[:120]), "/etc/web.key holds a key that is cut off"),
    "a key in place of a certificate": (lambda: (ALONE.key_pem(), ALONE.key_pem()), "holds"),
    "another key": (lambda: (ALONE.pem, OTHER.key_pem()), "/etc/web.key is not the key of the certificate"),
    "its intermediate first": (lambda: (BETWEEN.pem + LEAF.pem, LEAF.key_pem()), "server's certificate comes first"),
    "an encrypted key": (lambda: (ALONE.pem, ALONE.key_pem(b"secret")), "/etc/web.key is encrypted: write the key"),
    "a chain of others": (lambda: (LEAF.pem + OTHER.pem, LEAF.key_pem()), "is not signed by CN=other.example"),
    "no intermediate": (
        lambda: (LEAF.pem, LEAF.key_pem()),
        "lacks the certificate of CN=An intermediate, which has signed CN=gw.example: append it",
    ),
    "a key on a curve that browsers refuse": (
        lambda: _with(Issued("gw.example", key=ec.generate_private_key(ec.SECP256K1()))),
        "is a key of the type",
    ),
    "an Ed25519 key": (
        lambda: (ALONE.pem, Issued("gw.example", OTHER, key=ed25519.Ed25519PrivateKey.generate()).key_pem()),
        "is a key of the type Ed25519, which devices or browsers refuse: use a key on the curve P-256",
    ),
    "a short RSA key": (
        lambda: _with(Issued("gw.example", key=rsa.generate_private_key(65537, 1024))),
        "is a key of the type RSA with 1024 bits",
    ),
    "no name": (lambda: _with(Issued("gw.example", extensions=())), "is for no name (subjectAltName)"),
    "not for servers": (
        lambda: _with(Issued("a", extensions=(server(), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])))),
        "is not for servers (extendedKeyUsage)",
    ),
    "one that has ended": (
        lambda: _with(Issued("gw.example", begins=datetime.now(UTC) - 9 * DAY, days=8)),
        "CN=gw.example ended on ",
    ),
    "one that is to begin": (
        lambda: _with(Issued("gw.example", begins=datetime.now(UTC) + DAY)),
        "CN=gw.example holds from ",
    ),
}


def _with(one: Issued) -> tuple[bytes, bytes]:
    return one.pem, one.key_pem()


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_named_with_its_file(name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(PairError) as caught:
        read(*make())
    message = str(caught.value)
    assert words in message
    assert message.startswith(("/etc/web.pem", "/etc/web.key"))
    assert message.isprintable()


def test_every_length_of_a_file_that_is_being_written_is_refused_or_whole() -> None:
    chain, key = LEAF.pem + BETWEEN.pem, LEAF.key_pem()
    whole = {len(chain), len(chain) - 1}  # the last line end is no part of it
    for length in range(0, len(chain) + 1, 7):
        if length not in whole:
            with pytest.raises(PairError):
                read(chain[:length], key)
    for length in range(len(key) - 1):
        with pytest.raises(PairError):
            read(chain, key[:length])


def test_in_doubt_of_the_clock_nothing_is_said_of_dates() -> None:
    past = Issued("gw.example", begins=datetime.now(UTC) - 9 * DAY, days=8)
    assert read_pair(past.pem, past.key_pem(), FILES, None).leaf == past.certificate


def test_it_ends_with_what_it_is_signed_by() -> None:
    short = Issued("An intermediate", ROOT, extensions=authority(), days=20)
    leaf = Issued("gw.example", short, days=90)
    pair = read(leaf.pem + short.pem, leaf.key_pem())
    assert pair.not_after == short.certificate.not_valid_after_utc
    with pytest.raises(PairError, match="CN=An intermediate ended on"):
        read(leaf.pem + short.pem, leaf.key_pem(), datetime.now(UTC) + timedelta(days=30))

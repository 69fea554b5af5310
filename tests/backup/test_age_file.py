"""The age format: what any other age opens, and what is refused."""

import io
import os
import random
import re
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # it brings no types
import pytest

from appliance.backup import age_file
from appliance.backup.age_file import CHUNK, AgeReader, AgeWriter, Damaged, WrongPassphrase
from appliance.errors import ApplianceError
from tests.support.soak import times
from tests.support.terminal import on_terminal

PASSPHRASE = "correct horse battery staple"
LENGTHS = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17)
CHEAP = 1
"""A work factor for tests that open very many files."""


def sealed(plain: bytes, *, work_factor: int = age_file.WORK_FACTOR) -> bytes:
    out = io.BytesIO()
    writer = AgeWriter(out, PASSPHRASE, work_factor=work_factor)
    writer.write(plain)
    writer.finish()
    return out.getvalue()


def opened(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    reader = AgeReader(io.BytesIO(data), passphrase)
    plain = bytearray()
    while piece := reader.read(10_000):
        plain += piece
    return bytes(plain)


@pytest.mark.parametrize("length", LENGTHS)
def test_another_implementation_opens_ours(length: int) -> None:
    plain = random.Random(length).randbytes(length)
    assert pyrage.passphrase.decrypt(sealed(plain, work_factor=CHEAP), PASSPHRASE) == plain


@pytest.mark.parametrize("length", LENGTHS)
def test_what_was_written_in_pieces_is_read_in_pieces(length: int) -> None:
    plain, out, pieces = random.Random(length).randbytes(length), io.BytesIO(), random.Random(length + 1)
    writer = AgeWriter(out, PASSPHRASE, work_factor=CHEAP)
    at = 0
    while at < length:
        at += writer.write(plain[at : at + pieces.randint(1, 2 * CHUNK)])
    writer.finish()
    assert opened(out.getvalue()) == plain


def test_the_program_age_opens_ours_and_we_open_its(tmp_path: Path) -> None:
    plain = os.urandom(CHUNK + 100)
    ours, theirs, out = tmp_path / "ours.age", tmp_path / "theirs.age", tmp_path / "out"
    ours.write_bytes(sealed(plain))
    on_terminal(["age", "--decrypt", "--output", str(out), str(ours)], [PASSPHRASE])
    assert out.read_bytes() == plain
    on_terminal(["age", "--passphrase", "--output", str(theirs), str(out)], [PASSPHRASE, PASSPHRASE])
    assert opened(theirs.read_bytes()) == plain


def test_the_wrong_passphrase_is_refused() -> None:
    with pytest.raises(WrongPassphrase):
        opened(sealed(b"plain"), "another one")


def test_a_file_cut_anywhere_is_refused() -> None:
    data = sealed(os.urandom(2 * CHUNK + 500), work_factor=CHEAP)
    head = data.index(b"\n---") + 49
    borders = [*range(head + 20), *(head + 16 + n * (CHUNK + 16) for n in range(3))]
    cuts = {cut + off for cut in borders for off in (-1, 0, 1)} | {len(data) - n for n in range(1, 40)}
    cuts |= set(random.Random(1).sample(range(len(data)), times(200)))
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(data)):
        with pytest.raises((Damaged, WrongPassphrase)):
            opened(data[:cut])


def test_a_file_with_a_changed_byte_is_refused() -> None:
    plain = os.urandom(2 * CHUNK + 500)
    data = sealed(plain, work_factor=CHEAP)
    places = [*range(data.index(b"\n---") + 70), *random.Random(2).sample(range(len(data)), times(200))]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises((Damaged, WrongPassphrase)):
            opened(bytes(changed))


def test_what_follows_the_end_is_refused() -> None:
    for length in (0, 5, CHUNK, CHUNK + 5):
        data = sealed(os.urandom(length), work_factor=CHEAP)
        for more in (b"\0", b"\n", os.urandom(CHUNK + 16), data):
            with pytest.raises(Damaged):
                opened(data + more)


def test_chunks_in_another_order_are_refused() -> None:
    data = sealed(os.urandom(4 * CHUNK), work_factor=CHEAP)
    start, step = data.index(b"\n---") + 49 + 16, CHUNK + 16
    chunks = [data[start + n * step : start + (n + 1) * step] for n in range(4)]
    assert opened(data[:start] + b"".join(chunks))
    for order in ((1, 0, 2, 3), (0, 0, 2, 3), (0, 2, 3), (0, 1, 3)):
        with pytest.raises(Damaged):
            opened(data[:start] + b"".join(chunks[n] for n in order))


def test_an_empty_last_chunk_after_others_is_refused() -> None:
    out = io.BytesIO()
    writer = AgeWriter(out, PASSPHRASE, work_factor=CHEAP)
    writer.write(bytes(CHUNK))
    writer._seal(last=False)
    writer.finish()
    with pytest.raises(Damaged, match="last chunk"):
        opened(out.getvalue())


def test_a_work_factor_that_would_take_the_memory_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = sealed(b"plain", work_factor=CHEAP)

    def asking(work_factor: bytes) -> bytes:
        return re.sub(rb"(-> scrypt \S+) 1\n", rb"\1 %s\n" % work_factor, data)

    def none(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 999 kB\nMemAvailable:   65536 kB\n")
    monkeypatch.setattr(age_file, "Scrypt", none)
    for factor in (b"23", b"64", b"999", b"0", b"01", b"-1", b"1 "):
        with pytest.raises(Damaged):
            opened(asking(factor))
    monkeypatch.setattr(age_file, "MEMORY", memory)
    with pytest.raises(ApplianceError, match="takes 1024 MiB"):
        opened(asking(b"20"))


def test_other_files_are_refused_with_what_they_are() -> None:
    identity = pyrage.x25519.Identity.generate()
    with pytest.raises(Damaged, match="sealed for a key"):
        opened(pyrage.encrypt(b"plain", [identity.to_public()]))
    for other in (b"", b"age", b"\0" * 5000, b"age-encryption.org/v1\n" + b"x" * 100_000):
        with pytest.raises(Damaged):
            opened(other)


def test_two_files_of_the_same_content_have_nothing_in_common() -> None:
    plain = bytes(2 * CHUNK)
    first, second = sealed(plain, work_factor=CHEAP), sealed(plain, work_factor=CHEAP)
    start = first.index(b"\n---")
    pairs = zip(first[start + 5 :], second[start + 5 :], strict=True)
    assert sum(one == other for one, other in pairs) < len(plain) / 100

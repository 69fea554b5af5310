"""A dump on its way into a database, where one of the two programs fails."""

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.backup.archive import Manifest, write_archive
from appliance.errors import ApplianceError
from appliance.restore.loading import Loading, Source

PATIENCE = 20
"""Seconds after which it counts as hung."""
COMMITTED = "told to commit"


def archive(path: Path) -> Source:
    manifest = Manifest(
        program="1.0.0",
        schema=1,
        postgres_major=15,
        dump_major=15,
        instance_id="0123456789ab",
        key_ids=(),
        ca_fingerprint=None,
        created_at=datetime(2026, 12, 1, tzinfo=UTC),
        clock_trusted=True,
        addresses=(),
        rows={},
    )
    with path.open("wb") as out:
        write_archive(out, manifest, {}, [os.urandom(1024 * 1024)] * 3)
    return Source(path, None)


def programs(folder: Path, pg_restore: str, psql: str) -> Path:
    """Return a folder with two programs that do what these lines of shell do; pg_restore has a table of contents."""
    for name, lines in (("pg_restore", f'[ "$1" = --list ] && exit 0\n{pg_restore}'), ("psql", psql)):
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("pg_restore", "psql", "said"),
    [
        (
            "head -c 9; echo 'pg_restore: error: out of memory' >&2; exit 1",
            "exec cat >/dev/null",
            "pg_restore failed: .*mem",
        ),
        ("kill -9 $$", "exec cat >/dev/null", "pg_restore failed: exit code -9"),
        ("exec cat", "echo 'psql: error: connection lost' >&2; exit 2", "psql failed: .*lost"),
    ],
)
def test_a_program_that_fails_in_the_middle_ends_the_load_with_its_reason(
    tmp_path: Path, pg_restore: str, psql: str, said: str
) -> None:
    source = archive(tmp_path / "backup")
    loading = Loading(source, programs(tmp_path, pg_restore, psql), "dbname=none", "")
    hung = threading.Timer(PATIENCE, loading.stop)
    hung.start()
    try:
        with pytest.raises(ApplianceError, match=said):
            loading.run(lambda _count: None)
    finally:
        hung.cancel()
        loading.close()


def test_all_of_the_archive_is_read_before_the_end_of_the_transaction(tmp_path: Path) -> None:
    source = archive(tmp_path / "backup")
    with source.path.open("r+b") as file:  # within the last part of the dump
        file.seek(-100_000, os.SEEK_END)
        file.write(b"changed")
    folder = programs(tmp_path, "head -c 9 >/dev/null; exit 0", f"grep -q COMMIT && touch '{tmp_path}/{COMMITTED}'")
    loading = Loading(source, folder, "dbname=none", "")
    try:
        with pytest.raises(ApplianceError, match="its content is not what its summary says"):
            loading.run(lambda _count: None)
    finally:
        loading.close()
    assert not (tmp_path / COMMITTED).exists()

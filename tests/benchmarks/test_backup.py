"""The benchmark of backups: which messages count as alone, which as beside one, and what share of commits was fast."""

import pytest

from benchmarks.backup import Backup, Result, lines, quantile, split


def test_messages_are_told_by_whether_a_backup_was_made() -> None:
    backups = [Backup(10.0, 15.0, 1, 1), Backup(20.0, 25.0, 1, 1)]
    published = [8.0, 9.9, 12.0, 15.5, 19.9, 30.0]
    waits = [0.1, 0.3, 0.2, 0.1, 0.2, 0.1]
    alone, beside = split(published, waits, backups)
    assert alone == [0.1]
    assert beside == [0.3, 0.2, 0.2]
    found = {line.name: line for line in lines(Result(backups, alone, beside, 0.01, 0.05))}
    assert found["publish to commit beside a backup, p95, ms"].value == "300"
    assert found["p95 of transactions meanwhile, ms, at most"].value == "50"


def test_only_what_was_counted_meanwhile_counts() -> None:
    before, after = {0.1: 10.0, 0.5: 10.0, float("inf"): 100.0}, {0.1: 10.0, 0.5: 29.0, float("inf"): 120.0}
    assert quantile(before, after, 0.95) == pytest.approx(0.5)
    assert quantile(before, after, 0.96) == float("inf")

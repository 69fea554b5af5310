"""The benchmark of two checkouts, with programs in place of their appliances."""

from pathlib import Path

import pytest

from benchmarks import against

PROGRAM = """
import os, sys
from pathlib import Path
print("ready", flush=True)
for _ in sys.stdin:
    rate = Path(os.environ["PYTHONPATH"], "rate").read_text()
    with open(os.environ["ORDER"], "a") as order:
        order.write(Path.cwd().name[0])
    print(f"{rate} 10.0", flush=True)
"""


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of 100 messages a second; ours has 98."""
    for name, rate in (("older", "100"), ("newer", "98")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rate").write_text(rate)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(against, "SERVER", program)
    monkeypatch.setattr(against, "ROOT", tmp_path / "newer")
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    return tmp_path / "older"


@pytest.mark.parametrize(("first", "order"), [(0, "onno"), (1, "noon")])
def test_both_take_rounds_by_turns_and_each_begins_as_often(older: Path, first: int, order: str) -> None:
    before, after = against.turn(older, 10, 2, first=first)
    assert [one.rate for one in before] == [100, 100]
    assert [one.rate for one in after] == [98, 98]
    assert (older.parent / "order").read_text() == order


def test_the_ratio_is_that_of_this_checkout_to_the_older_one(
    older: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["against", str(older), "--turns", "2", "--rounds", "1"])
    against.main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("median of 2 turns: rate 0.98 (aim 0.98), CPU 1.00")


def test_a_checkout_that_cannot_be_started_is_named(older: Path) -> None:
    (older.parent / "program.py").write_text("raise SystemExit(1)")
    with pytest.raises(SystemExit, match=f"the appliance of {older} ended"):
        against.turn(older, 10, 1, first=0)

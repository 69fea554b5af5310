"""A newer version of the program: this checkout with more migrations, and the version that goes with them."""

from pathlib import Path

from appliance.db.migrations import shipped
from tests.support.project import ROOT

VERSION = "9.0.0"


def newer_program(folder: Path, *steps: str, version: str = VERSION) -> Path:
    """Make a program in ``folder``, which must not exist, that has ``steps`` as its last migrations; return it."""
    for name in ("appliance", "sql/migrations"):
        (folder / name).mkdir(parents=True)
    for name in ("appliance.toml", "static", "templates", "sql/queries"):
        (folder / name).symlink_to(ROOT / name)
    for path in (ROOT / "appliance").iterdir():
        if path.name not in {"__init__.py", "__pycache__"}:
            (folder / "appliance" / path.name).symlink_to(path)
    (folder / "appliance" / "__init__.py").write_text(f'"""A newer program."""\n\n__version__ = "{version}"\n')
    for path in (ROOT / "sql" / "migrations").iterdir():
        (folder / "sql" / "migrations" / path.name).symlink_to(path)
    for number, text in enumerate(steps, start=len(shipped()) + 1):
        (folder / "sql" / "migrations" / f"{number:04}_newer.sql").write_text(text)
    return folder

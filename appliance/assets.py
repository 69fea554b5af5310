"""Finds the files that ship beside the code: templates/, static/, sql/ and the default appliance.toml.

In a checkout they stand at the top; in the wheel they are inside the package, under ``_assets``.
"""

from functools import cache
from pathlib import Path


@cache
def asset_root() -> Path:
    """Return the folder that holds templates/, static/, sql/ and appliance.toml."""
    packaged = Path(__file__).parent / "_assets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent


def asset(*parts: str) -> Path:
    """Return the path of one shipped file or folder, for example ``asset("sql", "migrations")``."""
    return asset_root().joinpath(*parts)

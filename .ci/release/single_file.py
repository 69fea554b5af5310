"""Packs a folder that PyInstaller made behind ``launcher.sh``: one file that unpacks itself once and starts.

``python -m release.single_file FOLDER FILE`` writes FILE, as `make binary` calls it.
"""

import gzip
import hashlib
import io
import os
import platform
import sys
import tarfile
from pathlib import Path

from appliance import __version__

LAUNCHER = Path(__file__).with_name("launcher.sh")
SPARE_KIB = 4096
"""What must be free beside the program itself: folders, and blocks that files do not fill."""


def pack(folder: Path) -> bytes:
    """Return ``folder`` as tar.gz, the same for the same content."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(folder.rglob("*")):
            entry = archive.gettarinfo(str(path), str(path.relative_to(folder)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            if entry.isfile():
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return packed.getvalue()


def with_launcher(packed: bytes, unpacked_bytes: int, version: str, machine: str) -> bytes:
    """Return the file: the launcher, filled in, and ``packed`` behind it."""
    key = hashlib.sha256(packed).hexdigest()[:16]
    text = LAUNCHER.read_text()
    filled = {"VERSION": version, "MACHINE": machine, "KEY": key, "KIB": str(unpacked_bytes // 1024 + SPARE_KIB)}
    for name, value in filled.items():
        text = text.replace(f"@{name}@", value)
    # The number of the first byte behind the script, of which it is itself a part: always 8 digits.
    size = len(text.replace("@SKIP@", "0" * 8).encode())
    return text.replace("@SKIP@", f"{size + 1:08d}").encode() + packed


def main() -> None:
    """Write the single file of the folder that is named first to the path that is named second."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    unpacked = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(with_launcher(pack(folder), unpacked, __version__, platform.machine()))
    part.chmod(0o755)
    os.replace(part, target)  # noqa: PTH105 - the name says that it is one step
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.0f} MB, {unpacked / 1e6:.0f} MB unpacked\n")


if __name__ == "__main__":
    main()

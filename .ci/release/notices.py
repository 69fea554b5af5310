"""Writes THIRD-PARTY-NOTICES.md: what the image and the single file hold of others, and under which licences.

``PYTHONPATH=.ci python -m release.notices`` writes it anew, as `make lock` calls it; a test holds it against the
installed packages. No version is in it, so that it changes only when a licence does.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from appliance.sbom.python_packages import licence_of

ROOT = Path(__file__).parents[2]
FILE = ROOT / "THIRD-PARTY-NOTICES.md"
TEXTS = Path(__file__).with_name("licences")
"""Texts that packages refer to without bringing them."""
INSIDE: Mapping[str, Mapping[str, str]] = {
    "psycopg-binary": {
        "libpq": "PostgreSQL",
        "libcrypto": "Apache-2.0 (OpenSSL)",
        "libssl": "Apache-2.0 (OpenSSL)",
        "libgssapi_krb5": "MIT (Kerberos)",
        "libk5crypto": "MIT (Kerberos)",
        "libkrb5": "MIT (Kerberos)",
        "libkrb5support": "MIT (Kerberos)",
        "libcom_err": "MIT (Kerberos)",
        "libkeyutils": "LGPL-2.1-or-later",
        "libcrypt": "LGPL-2.1-or-later",
        "libldap": "OLDAP-2.8",
        "liblber": "OLDAP-2.8",
        "libsasl2": "BSD-4-Clause (Carnegie Mellon University)",
    },
    "cryptography": {"OpenSSL, linked in": "Apache-2.0"},
}
"""Libraries inside of wheels, by the name of the package."""
HEADING = """\
# Third-party notices

The Edge Appliance is under the [Apache License 2.0](LICENSE). The image and the single file hold the work of others
under the licences below; a checkout and the wheel hold the front end of it, and name the rest. `appliance sbom` lists
each package with its version and its hash.

**Postgres, Mosquitto and all else of Debian** stand in the image as Debian ships them. The licence of each package is
in the image, at `/usr/share/doc/PACKAGE/copyright`, and Debian has the sources. The single file has none of them.

**Python** stands in the single file, with the libraries that it uses there: OpenSSL, zlib, libffi, liblzma, libbz2,
libuuid. It is under the Python Software Foundation License 2.0; the part "Python" at the end has the text, and those of
what Python itself holds of others. PyInstaller's start program is under the GNU General Public License 2.0, with the
exception that what it starts may have any licence.

**psycopg** is under the GNU Lesser General Public License 3.0. Whoever has the image can put another version of it into
`/opt/appliance/lib`. Whoever has the single file can build it anew with another version (`make binary`), from the
source that it was built from.
"""


def pinned() -> list[str]:
    """Return the names of the packages that the program runs with."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


def texts(package: Distribution) -> Iterator[str]:
    """Yield the texts of licences and notices that a package brings, the same one once."""
    seen = set()
    for file in sorted(package.files or (), key=str):
        if ".dist-info" in str(file) and re.match(r"(?i)(licen[cs]e|copying|notice)", file.name):
            text = Path(str(file.locate())).read_text(errors="replace").strip()
            if text not in seen:
                seen.add(text)
                yield text


def front_end() -> Iterator[tuple[str, str, str]]:
    """Yield what is served to browsers: name, licence, text."""
    static = ROOT / "static"
    for library in tomllib.loads((static / "vendor" / "vendored.toml").read_text())["library"]:
        yield library["name"], library["licence"], (static / "vendor" / f"{library['name']}-LICENSE.txt").read_text()
    for path in sorted((static / "fonts").glob("OFL-*.txt")):
        yield f"{path.stem.removeprefix('OFL-')} (font)", "OFL-1.1", path.read_text()
    yield "Icons", "see the text", (static / "icons-LICENSE.txt").read_text()


def render() -> str:
    """Return the whole file."""
    entries: list[tuple[str, str, Sequence[str]]] = [(name, licence, [text]) for name, licence, text in front_end()]
    for name in pinned():
        package = distribution(name)
        entries.append((name, licence_of(package), list(texts(package))))
    numbers: dict[str, int] = {}
    lines = [HEADING, "| what | licence | text |", "|---|---|---|"]
    for name, licence, found in entries:
        places = [numbers.setdefault(_same(text), len(numbers) + 1) for text in found]
        lines.append(f"| {name} | {licence} | {', '.join(map(str, places)) or 'none of its own'} |")
        lines += [f"| {name}: {inner} | {of} | |" for inner, of in INSIDE.get(name, {}).items()]
    whole = {_same(text): text for *_, found in entries for text in found}
    parts = [_part(str(number), whole[key]) for key, number in numbers.items()]
    extra = [_part(path.stem, path.read_text()) for path in sorted(TEXTS.glob("*.txt"))]
    return "\n".join([*lines, "", *parts, *extra])


def _part(title: str, text: str) -> str:
    body = "\n".join(line.rstrip() for line in text.strip().splitlines()).replace("```", "'''")
    return f"## {title}\n\n```text\n{body}\n```\n"


def _same(text: str) -> str:
    """Return what texts have in common that differ in blanks alone."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


if __name__ == "__main__":
    FILE.write_text(render())

"""docs/architecture.md and docs/contributing.md name what exists, and the tree has every folder of the program."""

import re
from pathlib import Path

from tests.support.project import PACKAGE, ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text()
PLACEHOLDER = "CONCEPT"
WALKS = ("## A message, from socket to acknowledgement", "## A form, from browser to row")


def _tree() -> dict[str, str]:
    """Return the folders of the tree with what is said of each."""
    (block,) = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line.partition(" ") for line in str(block).splitlines()]
    return {folder: words.strip() for folder, _, words in lines}


def _files(text: str) -> list[str]:
    """Return the files named in back-ticks, in order."""
    return re.findall(r"`((?:appliance|sql|templates|tests)/[\w./-]+\.\w+)`", text)


def _part(heading: str) -> str:
    return TEXT.partition(f"{heading}\n")[2].partition("\n## ")[0]


def test_every_folder_of_the_tree_exists_and_is_described() -> None:
    tree = _tree()
    assert [folder for folder in tree if not folder.endswith("/") or not (ROOT / folder).is_dir()] == []
    assert [folder for folder, words in tree.items() if not words] == []


def test_every_folder_of_the_program_is_in_the_tree() -> None:
    packages = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {f"{path.relative_to(ROOT)}/" for path in packages} == {
        folder for folder in _tree() if folder.startswith("appliance/")
    }


def test_every_file_named_exists() -> None:
    named = [name for name in _files(TEXT + CONTRIBUTING) if PLACEHOLDER not in name]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_both_walks_name_their_modules_step_by_step() -> None:
    for heading in WALKS:
        steps = re.split(r"^\d+\. ", _part(heading), flags=re.MULTILINE)[1:]
        modules = [name for step in steps for name in _files(step)]
        assert len(steps) >= 8, heading
        assert len({name for name in modules if name.startswith("appliance/")}) >= 15, heading


def test_every_leaf_of_the_program_is_named() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "supervisor"}
    assert {name for name in modules if f"`{name}`" not in TEXT} == set()


def test_every_service_is_named_in_the_tree_of_tasks() -> None:
    started = re.compile(r"\b(?:tree|base\.tree)\.(?:start|open)\(\s*\"([^\"]+)\"")
    running = {name for path in PACKAGE.rglob("*.py") for name in started.findall(path.read_text())}
    rows = re.findall(
        r"^\| (?:storage|knowledge|stream|broker|dashboard|before) [^|]*\|(.*)\|.*\|$",
        _part("## The tasks"),
        re.MULTILINE,
    )
    assert {name for row in rows for name in re.findall(r"\*([^*]+)\*", row)} == running


def test_the_concepts_of_the_dashboard_install_themselves() -> None:
    concepts = [path.parent for path in sorted((PACKAGE / "web").glob("*/install.py"))]
    app = Path(PACKAGE / "web" / "app.py").read_text()
    assert [concept.name for concept in concepts if f"appliance.web.{concept.name}.install" not in app] == []
    assert [concept.name for concept in concepts if f"appliance/web/{concept.name}/" not in _tree()] == []


def test_every_make_target_of_the_contributors_exists() -> None:
    named = set(re.findall(r"`make ([a-z]+)", CONTRIBUTING))
    assert {"quick", "test", "soak", "bench", "screenshots"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_lists_of_files_are_as_long_as_they_say() -> None:
    lists = re.findall(r"^### [^\n]*: (\d+) files[^\n]*\n(.*?)(?=^##|\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert len(lists) == 8
    for count, text in lists:
        rows = [line for line in text.splitlines() if line.startswith("| ") and line != "| file | |"]
        assert len(rows) == int(count), text

"""Who may import whom, as data. A new package gets its row here, with a sentence of why in the commit."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "appliance"

LEAVES = {
    "activity",
    "runtime.activity",
    "runtime.periodic",
    "errors",
    "backoff",
    "reading",
    "clock",
    "metrics",
    "config",
    "assets",
    "failpoints",
    "broker_user",
    "broker.accounts",
    "vault",
    "keyring",
}
ALLOWED: dict[str, set[str]] = {
    # leaves: know one another only where named
    "errors": set(),
    "activity": set(),  # what a service says of itself while it runs: any of them may
    "backoff": set(),
    "reading": set(),
    "clock": set(),
    "metrics": {"reading"},
    "assets": set(),  # finds templates/, static/ and sql/ in a checkout and in the wheel
    "failpoints": set(),
    "broker_user": set(),  # names and hashes of broker users: devices makes them, children writes them down
    "vault": {"errors"},  # seals what must be read again: data_dir keeps its keys, people and deliveries seal with it
    "config": {"errors"},
    "logs": {"config"},  # set up once by the top; everybody else only asks structlog for a logger
    # adapters: the leaves, never one another
    "children": LEAVES,
    "mqtt": LEAVES,
    "db": LEAVES,
    # domain
    "subscriptions": LEAVES | {"db"},
    # subscriptions.rows: who gives a seat locks the subscription rows just as who renews them does, in the same place
    "devices": LEAVES | {"subscriptions.lifecycle", "subscriptions.rows", "db"},
    "ingest": LEAVES | {"devices", "mqtt.topics", "db"},
    # reads what ingest stored and left marks of: through the database alone
    "history": LEAVES | {"db"},
    # people know nothing of devices: what a first start makes of both is put together above (first_start)
    "people": LEAVES | {"db"},
    # web: the domain, never children
    # door: pages show what the broker refused, in the door's own words
    "web": LEAVES
    # tree, inner_tasks, latency, vitals, system: what the process tells of itself, shown on the System page
    | {
        "runtime",
        "diagnostics",
        "broker.refusals",
        "onboarding",
        "door",
        "tree",
        "inner_tasks",
        "latency",
        "vitals",
        "system",
        "first_start",
        "people",
        "subscriptions",
        "devices",
        "history",
        "ingest",
        "db",
        "mqtt.topics",
    },
    # top
    "runtime": {"backoff", "errors"},
    "diagnostics": {"*"},
    "broker": LEAVES | {"children", "db", "devices", "ingest", "mqtt"},
    "onboarding": {"clock", "db", "devices", "errors", "people", "subscriptions"},
    "keyring": {"errors"},
    "tree": {"activity", "errors", "inner_tasks"},  # the supervisor's tool; knows no service, so pages can show it
    "inner_tasks": set(),
    "latency": set(),
    "vitals": {"activity", "clock", "latency", "metrics"},
    "system": {"tree", "vitals"},
    # what services say of themselves, in words: beside the supervisor, which knows them all
    "reports": {"broker_watch", "children", "config", "db", "devices", "health", "ingest", "mqtt", "system", "tree"},
    "addresses": set(),
    "broker_watch": {"metrics", "mqtt"},
    # the one place where credentials reach the broker, while the session is there
    "broker_users": {"activity", "children", "clock", "db", "devices"},
    "door": {"activity", "broker_user", "clock", "metrics"},
    "first_start": {"clock", "db", "devices", "errors", "people", "subscriptions"},
    "doorkeeper": {"activity", "children", "mqtt"},  # the one place where the session's state opens the broker's door
    "health": {"activity", "db"},
    "housekeeping": {"runtime.periodic", "activity", "clock", "db", "devices", "subscriptions"},
    "stopping": {"runtime.activity", "activity"},
    "supervisor": {"*"},
    "intake": {
        "runtime.activity",
        "runtime.periodic",
        "activity",
        "failpoints",
        "ingest",
        "mqtt",
    },  # the one place where the MQTT client meets the pipeline
    "simulate": LEAVES | {"mqtt"},
    "cli": {"*"},
    "__main__": {"*"},
    "__init__": set(),
}


def _modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below ``appliance``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = _modules()


def _imports(name: str, path: Path) -> set[str]:
    """Dotted names below ``appliance`` that the module imports, inside functions too."""
    found: set[str] = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} (package {package}): imports are absolute"
            base = node.module or ""
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.startswith("appliance."):
                found.add(_module_of(target.removeprefix("appliance.")))
    return found - {""}


def _module_of(dotted: str) -> str:
    while dotted and dotted not in MODULES:
        dotted = dotted.rpartition(".")[0]
    return dotted


def _permitted(target: str, allowed: set[str]) -> bool:
    return "*" in allowed or any(target == entry or target.startswith(f"{entry}.") for entry in allowed)


def test_each_package_imports_only_what_its_row_allows() -> None:
    wrong = []
    for name, path in MODULES.items():
        top = name.partition(".")[0]
        assert top in ALLOWED, f"{top} has no row in the layering table"
        wrong += [
            f"{name} imports {target}"
            for target in _imports(name, path)
            if target.partition(".")[0] != top and not _permitted(target, ALLOWED[top])
        ]
    assert wrong == []


def test_no_import_cycles() -> None:
    edges = {name: _imports(name, path) - {name} for name, path in MODULES.items()}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import cycle: {' -> '.join((*trail, name))}"
        if state.get(name) == 2:
            return
        state[name] = 1
        for target in sorted(edges.get(name, ())):
            visit(target, (*trail, name))
        state[name] = 2

    for name in edges:
        visit(name, ())


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []

"""Who may import whom, and how large things may be, as data. A new package gets its row here, and a sentence of why."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.support.project import ROOT

PACKAGE = ROOT / "appliance"

LEAVES = {
    "assets",  # finds templates/, static/ and sql/ in a checkout and in the wheel
    "backoff",
    "clock",
    "counted",  # whatever is said of a count agrees with it
    "csv_text",  # what a page downloads and what a tenant takes along are the same rows
    "end_signals",  # what ends the program is settled before all else is imported
    "errors",
    "failpoints",
    "keyring",  # seals what must be read again: data_dir keeps its keys, people and deliveries seal with it
    "local_time",  # days and steps of a zone: terms, charts and pages reckon with the same ones
    "metrics",
    "new_file",  # backups, archives and bundles are whole, or not there
    "own_command",  # whoever starts a process of its own for some work does it the same way
    "plain_text",  # what a name may hold is the same for devices, rules, routes and people
    "reading",
    "zones",  # which zones there are, and by what name one is stored, whoever names it
    "single_file",  # puts the environment right before anything else is imported
    "severity",  # alerts have one, routes choose by it
}
SERVICES = {"runtime.activity", "runtime.periodic"}
"""What a service says while it runs, and the form of work that is done again and again: any of them may."""

ALLOWED: Mapping[str, set[str]] = {
    # leaves: know one another only where named
    "assets": set(),
    "backoff": set(),
    "clock": set(),
    "counted": set(),
    "csv_text": set(),
    "end_signals": set(),
    "errors": set(),
    "failpoints": set(),
    "keyring": {"errors"},
    "local_time": {"zones"},
    "metrics": {"reading"},
    "new_file": {"errors"},
    "own_command": set(),
    "plain_text": set(),
    "reading": set(),
    "severity": set(),
    "single_file": set(),
    "zones": set(),
    # what the program is made of, whatever it does
    # mqtt.transport: the address of the broker and the files of TLS are judged by what uses them
    "config": {"errors", "mqtt.transport", "zones"},  # zones: the time of backups is in one
    "logs": {"config"},  # set up once by the top; everybody else only asks structlog for a logger
    "runtime": {"backoff", "errors"},
    # adapters: the leaves, never one another
    "disk": LEAVES | SERVICES,
    # broker.accounts: names and hashes of the broker's users
    # disk: a start on a full one gives the reserve back, and the log of Postgres has a size by it
    "children": LEAVES | SERVICES | {"broker.accounts", "disk"},
    "db": LEAVES | SERVICES,
    "mqtt": {"backoff", "clock"},  # so that it can be cut out
    # children: pg_dump is found as the other programs are, and its files lie in the data folder
    # runtime.addresses: where devices reach it, which a new machine has to have
    "backup": LEAVES | SERVICES | {"children", "config", "db", "runtime.addresses"},
    # a backup, the folder that it is built in, and the database that it is loaded into
    "restore": LEAVES | {"backup", "children", "config", "db", "disk"},
    # domain
    "subscriptions": LEAVES | {"db"},
    # subscriptions.rows: who gives a seat locks the subscription rows just as who renews them does, in the same place
    "devices": LEAVES
    | SERVICES
    | {"db", "broker.accounts", "mqtt.topics", "subscriptions.lifecycle", "subscriptions.rows"},
    # its record is a small file in data_dir, written as the children's are
    "service_clock": LEAVES | SERVICES | {"children.files", "db"},
    # what is in the data folder is written as the children's files are; certificates are never older than the program
    # config, runtime.addresses: a certificate is for what this machine is called now
    "tls": LEAVES | SERVICES | {"children.files", "config", "runtime.addresses", "service_clock.build_date"},
    "ingest": LEAVES | SERVICES | {"config", "db", "devices"},
    # mqtt: the mqtt sender publishes by our client; mqtt.topics: a topic that our own subscription takes is refused
    "delivery": LEAVES | SERVICES | {"db", "mqtt"},
    # ingest: the engine is an observer of its batches, and reads what the writer hands it
    # peers: one that is away is an alert of the appliance
    "alerts": LEAVES | SERVICES | {"db", "devices", "ingest.batch", "ingest.observer", "peers", "subscriptions"},
    # its probe is an observer of batches that makes the step of a rule, and its calls go the one way out
    "watchdog": LEAVES | SERVICES | {"alerts.kinds", "db", "delivery.outgoing", "ingest.batch"},
    # a renewal takes seats from devices: it is above both, and its worker warns by alerts
    "renewals": LEAVES | SERVICES | {"alerts.alert", "alerts.conditions", "db", "devices", "subscriptions"},
    "history": LEAVES | SERVICES | {"db"},  # reads what ingest stored and marked: through the database alone
    "peers": LEAVES | SERVICES | {"db"},  # reads what presence writes: through the database alone
    # what stands before a migration: a copy in data_dir, and that nobody else runs on the database
    "upgrade": LEAVES | SERVICES | {"backup", "children", "config", "db", "disk", "peers"},
    "people": LEAVES | {"db"},  # people know nothing of devices
    "simulate": LEAVES | {"broker.accounts", "mqtt"},
    # between our Mosquitto and the rest
    "broker": LEAVES | SERVICES | {"children", "config", "db", "devices", "ingest", "mqtt"},
    # what the process tells of itself: knows the services whose figures it puts into words
    "diagnostics": LEAVES
    | SERVICES
    | {"backup.nightly"}
    | {"broker", "children", "config", "db", "devices", "disk", "ingest", "mqtt", "runtime", "watchdog"},
    # what a first start and slow chores put together of several domains
    "healing": LEAVES | SERVICES | {"alerts", "db", "delivery", "devices", "ingest", "people", "service_clock"},
    "housekeeping": LEAVES | SERVICES | {"alerts.maintenance", "db", "devices", "people", "renewals"},
    # holds what the others promise against database and machine; what the process tells of itself it asks over a socket
    "doctor": LEAVES
    | {"backup.folder", "backup.record"}
    | {"children", "config", "db", "delivery.outbox.restore_hold", "diagnostics.liveness", "disk"}
    | {"ingest.telemetry.partitions", "mqtt.transport", "peers", "service_clock", "tls"},
    # what somebody needs who looks for a fault remotely; the doctor's results are handed in
    "support_bundle": LEAVES | {"children", "db", "sbom", "service_clock"},
    "sbom": LEAVES,
    # the tables of every domain by the catalogue: it imports none of them
    # devices.seats.import_file: the tags of a device are joined as the import takes them apart
    # the three that keep copies of the database: a deletion says which of them still have what it removes
    "offboarding": LEAVES
    | SERVICES
    | {"backup.folder", "children.replacement", "db", "devices.seats.import_file", "upgrade.copies"},
    "onboarding": LEAVES | {"db", "devices", "people", "subscriptions"},
    # the dashboard: the domain, never children
    "web": LEAVES
    | SERVICES
    | {"backup.nightly"}
    | {"alerts", "broker.accounts", "broker.floods.record", "broker.refusals", "broker.room", "broker.takeover"}
    | {"db", "delivery", "devices"}
    | {"diagnostics", "history", "ingest", "offboarding"}
    | {"onboarding", "peers", "people", "renewals", "runtime", "service_clock", "subscriptions", "watchdog"},
    # top
    "supervisor": {"*"},
    "cli": {"*"},
    "__main__": {"*"},
    "__init__": set(),
}

# Inside of web/: what any web program has, then what any page has, then the concepts.
FRAMEWORKS = {"access", "http", "live", "openapi", "page"}
COMMON = FRAMEWORKS | {"mount", "platform"}
WEB: Mapping[str, set[str]] = {
    "app": {"*"},
    "mount": {"page", "platform", "ports"},
    "platform": {"access", "http", "live"},
    "ports": {
        "page",
        "alerts.port",
        "devices.port",
        "ingest.port",
        "integrations.port",
        "quarantine.port",
        "system.port",
        "tenants.port",
    },
    # the frameworks: one another and the platform, never a concept
    **dict.fromkeys(FRAMEWORKS, FRAMEWORKS | {"platform"}),
    # the concepts: of another one its actions, labels or port at most, never its views or its API
    "alerts": COMMON | {"deliveries.labels", "routes.labels"},  # an alert's page says who was told, and why
    "audit": COMMON,
    "deliveries": COMMON,
    "devices": COMMON | {"maintenance.labels", "quarantine.payload", "subscriptions.labels"},
    "ingest": COMMON,
    "integrations": COMMON | {"deliveries.page_query"},  # the tab of deliveries has their number
    "maintenance": COMMON,
    "metrics": COMMON,
    "overview": COMMON | {"devices.labels", "devices.port", "subscriptions.labels"},
    "people": COMMON,
    "quarantine": COMMON,
    # a route leads to an integration, and takes types of alerts; below the routes stand their newest deliveries
    "routes": COMMON
    | {"alerts.labels", "deliveries.page_query", "deliveries.shown", "integrations.actions", "integrations.labels"},
    "rules": COMMON,
    "sign_in": COMMON | {"devices.commands", "devices.port", "people.labels"},
    "sites": COMMON,
    "subscriptions": COMMON | {"tenants.actions"},  # what is sold is sold to a tenant, and its page says to whom
    "system": COMMON,
    "tenants": COMMON | {"audit.labels", "subscriptions.labels"},  # a tenant's page shows its newest changes
    "trust": COMMON | {"devices.port"},  # it says how devices publish with the CA
}


MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
LONGEST_FUNCTION_LINES = 89
"""Past this there is no reason."""
LONG_FILES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {"mqtt.client.Client.__init__": "arguments, one a line, and where they go"}
"""What is larger all the same, each with its reason."""


def _modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below ``appliance``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = _modules()


@cache
def trees() -> Mapping[str, ast.Module]:
    """Every module, parsed: at the first test, as each worker that collects the suite imports this file."""
    return {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def _imports(name: str) -> set[str]:
    """Dotted names below ``appliance`` that the module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            targets = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {
            _module_of(target.removeprefix("appliance.")) for target in targets if target.startswith("appliance.")
        }
    return found - {"", name}


def _module_of(dotted: str) -> str:
    while dotted and dotted not in MODULES:
        dotted = dotted.rpartition(".")[0]
    return dotted


def _permitted(target: str, allowed: set[str]) -> bool:
    return "*" in allowed or any(target == entry or target.startswith(f"{entry}.") for entry in allowed)


def _forbidden(table: Mapping[str, set[str]], prefix: str) -> Iterator[str]:
    """The imports between the parts below ``prefix`` that ``table`` does not allow."""
    for name in MODULES:
        if not name.startswith(prefix) or name == prefix.rstrip("."):
            continue
        part = name.removeprefix(prefix).partition(".")[0]
        assert part in table, f"{prefix}{part} has no row in the layering table"
        for target in sorted(_imports(name)):
            inner = target.removeprefix(prefix)
            if target.startswith(prefix) and inner.partition(".")[0] != part and not _permitted(inner, table[part]):
                yield f"{name} imports {target}"


def test_each_package_imports_only_what_its_row_allows() -> None:
    assert list(_forbidden(ALLOWED, "")) == []


def test_each_part_of_the_dashboard_imports_only_what_its_row_allows() -> None:
    assert list(_forbidden(WEB, "web.")) == []


def test_the_tables_name_nothing_that_is_not_there() -> None:
    for table, prefix in ((ALLOWED, ""), (WEB, "web.")):
        named = set(table) | {entry for row in table.values() for entry in row} - {"*"}
        assert [name for name in sorted(named) if f"{prefix}{name}" not in MODULES] == []


def test_no_import_cycles() -> None:
    edges = {name: _imports(name) for name in MODULES}
    state: dict[str, int] = {}

    def visit(name: str, chain: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import cycle: {' -> '.join((*chain, name))}"
        if state.get(name) == 2:
            return
        state[name] = 1
        for target in sorted(edges.get(name, ())):
            visit(target, (*chain, name))
        state[name] = 2

    for name in edges:
        visit(name, ())


def test_every_module_says_what_it_is() -> None:
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_the_root_holds_the_program_and_not_its_parts() -> None:
    at_the_root = {path.stem for path in PACKAGE.glob("*.py")}
    assert at_the_root <= LEAVES | {"__init__", "__main__", "healing", "housekeeping", "logs", "onboarding"}


def test_files_are_short_or_have_a_reason() -> None:
    long = {name for name, path in MODULES.items() if len(path.read_text().splitlines()) > MAX_FILE_LINES}
    assert long == LONG_FILES.keys()


def _functions(name: str, node: ast.AST) -> Iterator[tuple[str, int]]:
    """Every function below ``node`` by its dotted name, and its lines."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{child.name}", (child.end_lineno or child.lineno) - child.lineno + 1
            yield from _functions(f"{name}.{child.name}", child)
        else:
            inner = f"{name}.{child.name}" if isinstance(child, ast.ClassDef) else name
            yield from _functions(inner, child)


def test_functions_are_short_or_have_a_reason() -> None:
    lengths = {found: lines for name, tree in trees().items() for found, lines in _functions(name, tree)}
    assert {name for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == LONG_FUNCTIONS.keys()
    assert [name for name, lines in lengths.items() if lines > LONGEST_FUNCTION_LINES] == []

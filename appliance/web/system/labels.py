"""Sentences of the System page: about Postgres, the broker, and what an acknowledgement guarantees."""

from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.snapshot import BrokerTerms, Dependency
from appliance.web.page import formats
from appliance.web.system.reader import SystemView


def dependency_text(dependency: Dependency, view: SystemView) -> str:
    """Return one line about Postgres or the broker."""
    parts = [dependency.version or "version unknown"]
    if dependency.name == "Postgres":
        if view.database is not None:
            parts = [
                view.database.version,
                f"{view.database.connections} of {view.database.max_connections} connections",
            ]
        if view.commit is not None:
            parts.append(f"commit in {formats.milliseconds(view.commit.median)} ms")
    else:
        if dependency.connected is not None:
            parts.append(f"{formats.count(dependency.connected)} connected")
        if dependency.dropped is not None:
            parts.append(
                f"{formats.count(dependency.dropped)} messages dropped" if dependency.dropped else "nothing dropped"
            )
    if dependency.restarts:
        parts.append(f"restarted {dependency.restarts} times")
    return ", ".join(parts)


def promise(terms: BrokerTerms | None, latency: Percentiles | None) -> str:
    """Return what an acknowledgement guarantees to a device."""
    if terms is None:
        return (
            "The broker is external: its own settings decide what its acknowledgement to a device means."
            " The appliance acknowledges each message to it after the commit."
        )
    if terms.saves_every is None:
        return (
            "A device is acknowledged by the broker once its message is on disk there. The appliance acknowledges it"
            " to the broker after the commit, which deletes the message only then. Nothing acknowledged is lost, not"
            " even when power fails."
        )
    gap = (
        "as soon as a batch is committed"
        if latency is None
        else f"{formats.milliseconds(latency.p95)} ms later, usually"
    )
    return (
        "A device is acknowledged by the broker when its message is in memory there. The appliance stores it and"
        f" acknowledges it to the broker after the commit: {gap}. The broker saves its queue every"
        f" {terms.saves_every:g} s: if it is killed or power fails, messages it acknowledged in the last"
        f" {terms.saves_every:g} s and had not delivered are lost. A stop or restart of the appliance loses nothing."
    )

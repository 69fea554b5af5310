"""What the System page says in sentences: of Postgres and the broker, and of what an acknowledgement promises."""

from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.snapshot import BrokerTerms, Dependency
from appliance.web.page import formats
from appliance.web.system.reader import SystemView


def dependency_text(dependency: Dependency, view: SystemView) -> str:
    """One line about Postgres or the broker."""
    words = [dependency.version or "version unknown"]
    if dependency.name == "Postgres":
        if view.database is not None:
            words = [
                view.database.version,
                f"{view.database.connections} of {view.database.max_connections} connections",
            ]
        if view.commit is not None:
            words.append(f"commit in {formats.milliseconds(view.commit.median)} ms")
    else:
        if dependency.connected is not None:
            words.append(f"{formats.count(dependency.connected)} connected")
        if dependency.dropped is not None:
            words.append(
                f"{formats.count(dependency.dropped)} messages dropped" if dependency.dropped else "nothing dropped"
            )
    if dependency.restarts:
        words.append(f"restarted {dependency.restarts} times")
    return ", ".join(words)


def promise(terms: BrokerTerms | None, latency: Percentiles | None) -> str:
    """What a device may take its acknowledgement for, in plain words."""
    if terms is None:
        return (
            "The broker is not ours: what its acknowledgement to a device promises, its own settings say."
            " We acknowledge to it after the commit."
        )
    if terms.saves_every is None:
        return (
            "A device is acknowledged by the broker once its message is on disk there. We acknowledge to the broker"
            " after the commit, and only then does it let go. Nothing acknowledged is lost, also when power fails."
        )
    gap = (
        "as soon as a batch is committed"
        if latency is None
        else f"{formats.milliseconds(latency.p95)} ms later as a rule"
    )
    return (
        "A device is acknowledged by the broker when its message has arrived there, in memory. We store it and"
        f" acknowledge to the broker after the commit: {gap}. The broker saves what waits every"
        f" {terms.saves_every:g} s: if it is killed or power fails, messages it acknowledged in the last"
        f" {terms.saves_every:g} s and had not handed over are lost. A stop or restart of the appliance loses nothing."
    )

"""The doctor on a whole appliance: nothing is broken while it runs, and stopped, no more is said than can be seen."""

from tests.support.appliance_process import ApplianceProcess


def test_of_a_running_appliance_everything_is_looked_at_and_nothing_is_broken(appliance: ApplianceProcess) -> None:
    appliance.start()
    running = {check["name"]: check for check in appliance.command("doctor")["checks"]}
    assert {name for name, check in running.items() if check["status"] == "broken"} == set()
    unseen = {name for name, check in running.items() if check["status"] == "unseen"}
    assert unseen == {"backups", "broker", "certificates"}
    assert running["ports"]["status"] == "ok"
    appliance.stop()
    stopped = {check["name"]: check["status"] for check in appliance.command("doctor")["checks"]}
    assert {stopped[name] for name in ("alive", "ready", "database", "ledger", "seats")} == {"unseen"}
    assert {stopped[name] for name in ("permissions", "identity", "ports", "postgres_program")} == {"ok"}

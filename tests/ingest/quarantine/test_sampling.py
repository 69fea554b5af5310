"""Which refused messages become rows of quarantine."""

from appliance.ingest.batch import MINUTE, RefusedSubmission
from appliance.ingest.quarantine.sampling import BYTES_A_MINUTE, ROWS_A_MINUTE, RowSampler
from appliance.reading import Reason


def refused(
    device: str, size: int = 1, tenant: str = "acme", reason: Reason = Reason.INVALID_JSON
) -> RefusedSubmission:
    return RefusedSubmission(0, reason, "", "", b"x" * size, tenant, device)


def test_of_each_device_and_reason_a_few_a_minute_are_kept() -> None:
    sampler = RowSampler()
    flood = [refused("d1")] * 1000
    assert len(sampler.keep(flood, 0)) == ROWS_A_MINUTE
    assert len(sampler.keep([refused("d2")], 1)) == 1
    assert sampler.keep(flood, MINUTE - 1) == []
    assert len(sampler.keep(flood, MINUTE)) == ROWS_A_MINUTE


def test_devices_that_a_tenant_invents_do_not_make_its_sample_larger() -> None:
    sampler, size = RowSampler(), 32_000
    kept = sampler.keep([refused(f"d{number}", size) for number in range(1000)], 0)
    assert len(kept) == BYTES_A_MINUTE // size
    assert len(sampler.keep([refused("d1", size, "other")], 0)) == 1
    assert len(sampler.keep([refused("d1", size)], MINUTE)) == 1


def test_what_can_be_replayed_is_kept_whole() -> None:
    held = [refused("d1", 32_000, reason=Reason.UNREGISTERED_DEVICE)] * 200
    assert RowSampler().keep(held, 0) == held

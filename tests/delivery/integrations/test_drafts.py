"""What people enter is checked by its type, its destinations are judged, its secrets are sealed each in its place."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from appliance.delivery.integrations.drafts import IntegrationDraft, Prepared, opened, prepared
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.senders.table import SENDERS
from appliance.errors import Conflict, Invalid
from appliance.keyring import Keyring, new_key
from tests.delivery.senders.network import network
from tests.support.alerts import OPENED_AT

KEYRING = Keyring([new_key()])
IDENTITY = uuid4()
CONFIG = {"url": "https://hooks.example/alerts"}
MARKED = "marked-81c0"


async def ready(
    secrets: Mapping[str, str | None], kept: Integration | None = None, config: Mapping[str, Any] = CONFIG
) -> Prepared:
    outside = network(
        names={"hooks.example": "93.184.215.14", "inside.example": "10.0.0.7", "thief.example": "93.184.215.15"}
    )
    return await prepared(
        IntegrationDraft("Ops", config, secrets),
        SENDERS["webhook"],
        tenant_id="acme",
        integration_id=IDENTITY,
        kept=kept,
        keyring=KEYRING,
        network=outside,
    )


def kept_of(found: Prepared) -> Integration:
    draft = found.draft
    return Integration(
        "acme", IDENTITY, "Ops", "webhook", True, None, draft.config, draft.secrets, 2, 1, OPENED_AT, OPENED_AT
    )


async def test_a_name_that_cannot_be_resolved_now_is_a_warning_and_no_error() -> None:
    assert (await ready({})).warnings == []
    (warning,) = (await ready({}, config={"url": "https://hoks.example/alerts"})).warnings
    assert warning.startswith("url: hoks.example ")
    assert "nobody is told" in warning


async def test_secrets_are_sealed_and_open_only_in_their_place() -> None:
    found = await ready({"authorization": MARKED})
    sealed = found.draft.secrets
    assert set(sealed) == {"authorization", "signing_secret"}
    assert MARKED not in str(found)
    assert found.made["signing_secret"] not in str(found)
    assert opened("acme", IDENTITY, sealed, KEYRING) == {"authorization": MARKED, **found.made}
    swapped = {"signing_secret": sealed["authorization"]}
    for tenant_id, identity, given in (
        ("rival", IDENTITY, sealed),
        ("acme", uuid4(), sealed),
        ("acme", IDENTITY, swapped),
        ("acme", IDENTITY, {"authorization": "no base64"}),
    ):
        with pytest.raises(Conflict, match="enter it again"):
            opened(tenant_id, identity, given, KEYRING)


async def test_what_is_not_named_stays_and_what_is_named_is_told_to_the_audit() -> None:
    kept = kept_of(await ready({"authorization": MARKED}))
    same = await ready({}, kept)
    assert (same.draft.secrets, same.made, same.draft.changed_secrets) == (kept.secrets, {}, [])
    gone = await ready({"authorization": None}, kept)
    assert set(gone.draft.secrets) == {"signing_secret"}
    assert gone.draft.changed_secrets == ["authorization"]
    fresh = await ready({"signing_secret": None}, kept)
    assert set(fresh.made) == {"signing_secret"}
    assert fresh.draft.secrets["authorization"] == kept.secrets["authorization"]
    own = await ready({"signing_secret": "whsec_" + "B" * 40}, kept)
    assert own.made == {}
    assert opened("acme", IDENTITY, own.draft.secrets, KEYRING)["signing_secret"] == "whsec_" + "B" * 40


@pytest.mark.parametrize(
    "url", ["https://thief.example/alerts", "https://hooks.example:8443/alerts", "http://hooks.example/alerts"]
)
async def test_a_secret_is_entered_again_for_another_receiver(url: str) -> None:
    kept = kept_of(await ready({"authorization": MARKED}))
    with pytest.raises(Invalid, match="enter it again") as raised:
        await ready({}, kept, {"url": url})
    assert raised.value.field == "authorization"
    assert MARKED not in str(raised.value)
    elsewhere = {"url": "https://thief.example/alerts"}
    assert set((await ready({"authorization": None}, kept, elsewhere)).draft.secrets) == {"signing_secret"}
    anew = await ready({"authorization": "another-81c0"}, kept, elsewhere)
    assert opened("acme", IDENTITY, anew.draft.secrets, KEYRING)["authorization"] == "another-81c0"


async def test_a_signing_secret_and_another_path_need_nothing_again() -> None:
    unsigned = kept_of(await ready({}))
    assert (await ready({}, unsigned, {"url": "https://thief.example/alerts"})).draft.secrets == unsigned.secrets
    kept = kept_of(await ready({"authorization": MARKED}))
    assert (await ready({}, kept, {"url": "https://hooks.example/other?x=1"})).draft.secrets == kept.secrets


async def test_a_lost_key_is_mended_by_entering_the_secret_again() -> None:
    kept = kept_of(await ready({"authorization": MARKED}))
    lost = replace(kept, secrets=dict.fromkeys(kept.secrets, "AAAA"))
    with pytest.raises(Conflict, match="enter it again"):
        await ready({"authorization": MARKED}, lost)
    found = await ready({"authorization": MARKED, "signing_secret": None}, lost)
    assert opened("acme", IDENTITY, found.draft.secrets, KEYRING)["authorization"] == MARKED


async def test_an_inward_destination_is_refused_by_name_and_by_address() -> None:
    for url in ("https://10.0.0.7/", "https://inside.example/", "https://[::1]/"):
        with pytest.raises(Invalid, match="allow_networks") as refused:
            await ready({}, config={"url": url})
        assert refused.value.field == "url"
    assert (await ready({}, config={"url": "https://unknown.example/"})).draft.config

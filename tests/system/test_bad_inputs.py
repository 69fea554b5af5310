"""Every bad input we know, at the appliance's two doors: refused for its reason, and the next good one is served.

One appliance takes them all. While it does, its accounting is read from a second connection; in the end it lives, and
its log holds no traceback.
"""

import contextlib
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import trio
from mqtt5 import PubAckReasonCode

from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import connect
from appliance.devices.seats import changes
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.reading import Reason
from tests.support.accounting import Snapshot, look, watching_accounting
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.busy import within
from tests.support.http_caller import Answer, Caller
from tests.support.publisher import TENANT, client
from tests.system.bad_payloads import Case, Refused, Stored, cases

PATIENCE_SECONDS = 60.0
GOOD = b'{"temperature":21.5}'
CASES = cases()


@pytest.fixture(scope="module")
def serving() -> Iterator[ApplianceProcess]:
    """The appliance, with a tenant whose claim user may speak for any new device."""
    with started() as process:
        process.tenant(TENANT)
        yield process
        assert process.process is not None
        assert process.process.poll() is None, "it ended"
        log = process.log.read_text()
        assert "Traceback" not in log, log[-6000:]
        assert "INTERNAL_ERROR" not in log


def topic(device: str, kind: str = "telemetry") -> str:
    return f"tenant/{TENANT}/device/{device}/{kind}"


def caller(serving: ApplianceProcess) -> Caller:
    """An HTTP client that shows the claim password."""
    return Caller(serving, serving.tenant(TENANT)["password"])


def accounting(serving: ApplianceProcess) -> Snapshot:
    return look(serving.conninfo())


async def received(serving: ApplianceProcess, count: int) -> None:
    """Return once so many messages are in the accounting."""
    deadline = trio.current_time() + PATIENCE_SECONDS
    while (await trio.to_thread.run_sync(accounting, serving)).received < count:
        assert trio.current_time() < deadline, f"not all messages were received\n{serving.tail()}"
        await trio.sleep(0.02)


def counted(serving: ApplianceProcess, name: str) -> int:
    """A counter of the metrics."""
    found = re.search(rf"^{name}_total (\S+)$", serving.get("/metrics").decode(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def known(serving: ApplianceProcess) -> set[str]:
    """The devices that there are."""
    return {device for (device,) in serving.query("SELECT device_id FROM device_registry")}


def check_outcomes(serving: ApplianceProcess, prefix: str) -> None:
    """Device ``{prefix}{n}`` sent the case ``n``: each is where it should be, and nowhere else."""
    like = f"{prefix}%"
    kept = serving.query(
        "SELECT device_id, reason, payload FROM quarantine_events WHERE device_id LIKE %s ORDER BY id", like
    )
    named = {f"{prefix}{number}": case for number, case in enumerate(CASES)}
    refused = {device: case for device, case in named.items() if isinstance(case.expected, Refused)}
    assert {device: reason for device, reason, _ in kept} == {
        device: case.expected.reason.value for device, case in refused.items() if isinstance(case.expected, Refused)
    }
    assert {device: bytes(payload) for device, _, payload in kept} == {d: case.payload for d, case in refused.items()}
    assert len(kept) == len(refused)
    rows = serving.query("SELECT device_id, metrics, ts_adjusted FROM telemetry WHERE device_id LIKE %s", like)
    stored = {
        device: (case.expected.metrics, case.expected.adjusted)
        for device, case in named.items()
        if isinstance(case.expected, Stored)
    }
    assert {device: (metrics, adjusted) for device, metrics, adjusted in rows} == stored
    assert len(rows) == len(stored)
    # P5: what was refused before its device was asked for made no device and was seen by none.
    unread = {device for device, case in refused.items() if early(case)}
    for table in ("device_registry", "device_state"):
        found = {device for (device,) in serving.query(f"SELECT device_id FROM {table} WHERE device_id LIKE %s", like)}
        assert found & unread == set(), table
    assert len(unread) > 200


def early(case: Case) -> bool:
    """Whether the case fails one of the checks 1 to 7."""
    later = {Reason.TIMESTAMP_TOO_OLD, Reason.TOKEN_NOT_SET}
    return isinstance(case.expected, Refused) and case.expected.reason not in later


async def test_every_bad_payload_over_mqtt(serving: ApplianceProcess) -> None:
    before = accounting(serving).received
    json_before, encoding_before = counted(serving, "invalid_json"), counted(serving, "invalid_encoding")
    async with watching_accounting(serving.conninfo, enough=10) as watch, client(serving, "bad-payloads") as connection:
        for number, case in enumerate(CASES):
            await connection.publish(topic(f"over-mqtt-{number}"), case.payload)
            await connection.publish(topic("good-mqtt"), GOOD)
            if number % (len(CASES) // 10) == 0:
                await watch.another()
        await received(serving, before + 2 * len(CASES))
    check_outcomes(serving, "over-mqtt-")
    assert serving.query("SELECT count(*) FROM telemetry WHERE device_id = 'good-mqtt'") == [(len(CASES),)]
    reasons = Counter(case.expected.reason for case in CASES if isinstance(case.expected, Refused))
    assert counted(serving, "invalid_json") - json_before == reasons[Reason.INVALID_JSON]
    assert counted(serving, "invalid_encoding") - encoding_before == reasons[Reason.INVALID_ENCODING]


async def test_every_bad_payload_over_http(serving: ApplianceProcess) -> None:
    before = accounting(serving).received
    http = caller(serving)
    async with watching_accounting(serving.conninfo, enough=10):
        for number, case in enumerate(CASES):
            answer = await http.post(f"/ingest/{topic(f'over-http-{number}')}", case.payload)
            assert answer.status == case.expected.status, (case.name, answer)
            if isinstance(case.expected, Refused):
                assert answer.headers["content-type"] == "application/problem+json", case.name
                assert answer.json()["code"] == case.expected.reason.value, case.name
            good = await http.post(f"/ingest/{topic('good-http')}", GOOD)
            assert (good.status, good.json()) == (202, {"accepted": 1}), case.name
    # The answers came after the commits.
    assert accounting(serving).received == before + 2 * len(CASES)
    check_outcomes(serving, "over-http-")
    assert serving.query("SELECT count(*) FROM telemetry WHERE device_id = 'good-http'") == [(len(CASES),)]


async def test_every_bad_payload_as_an_element_of_a_batch(serving: ApplianceProcess) -> None:
    """As lines of NDJSON, those that fit on one: each is judged by itself, and the good ones between are stored."""
    fit = [case for case in CASES if b"\n" not in case.payload and case.payload.strip()]
    lines = [line for number, case in enumerate(fit) for line in (case.payload, b'{"good":%d}' % number)]
    ndjson = {"Content-Type": "application/x-ndjson"}
    answer = await caller(serving).post(f"/ingest/{topic('lines')}", b"\n".join(lines), ndjson)
    assert answer.status == 202
    body = answer.json()
    wrong = {2 * n: case.expected.reason for n, case in enumerate(fit) if isinstance(case.expected, Refused)}
    assert {refusal["index"]: refusal["reason"] for refusal in body["refused"]} == wrong
    assert body["accepted"] == len(lines) - len(wrong)
    rows = serving.query("SELECT (metrics->>'good')::int FROM telemetry WHERE device_id = 'lines' AND metrics ? 'good'")
    assert sorted(row[0] for row in rows) == list(range(len(fit)))
    nothing = await caller(serving).post(f"/ingest/{topic('lines')}", b"\n \n", ndjson)
    assert (nothing.status, nothing.json()["code"]) == (400, "INVALID_PAYLOAD")
    accounting(serving)


STRANGE_IDS = [
    "..", "%2e%2e", "a b", "'; drop--", "\u202egnp.exe", "\U0001f600", "x" * 65, ".hidden", "a:b", "é",
    "<b>", "a'b", 'a"b', "$SYS", "~",
]  # fmt: skip
"""M05."""
OUTSIDE = [
    "d//t", "d/x", "/d/x/t", f"{topic('x')}/", topic("x").upper(), f"/{topic('x')}", f"tenant/{TENANT}/device/x",
    f"tenants/{TENANT}/device/x/telemetry", "tenant/other/device/x/telemetry", f"tenant/{TENANT}/x/telemetry",
    "a/" * 199 + "a", "x" * 30_000, "$SYS/x", "$CONTROL/dynamic-security/v1", f"tenant/{TENANT}/device/x/telemetry/y",
    topic("x", ""), topic("x", "Telemetry"), topic("x", "temperature"), topic("x", "down"), topic("x", "t" * 30_000),
]  # fmt: skip
"""M03, M04, M08: nothing that a claim user may publish to."""
INSIDE = [
    *(f"tenant/{TENANT}/device/{segment}/telemetry" for segment in STRANGE_IDS),
    f"tenant/{TENANT}/device//telemetry", topic("y" * 30_000),
]  # fmt: skip
"""M03, M04, M05: what the broker lets through."""


async def test_every_bad_topic(serving: ApplianceProcess) -> None:
    async with watching_accounting(serving.conninfo), client(serving, "bad-topics") as connection:
        first = accounting(serving)
        await connection.publish(topic("good-topic"), GOOD)
        await received(serving, first.received + 1)
        before, devices = accounting(serving), known(serving)
        for wrong in OUTSIDE:
            with pytest.raises(NegativeAckError) as refused:
                await connection.publish(wrong, GOOD)
            assert refused.value.reason_code.value == PubAckReasonCode.NOT_AUTHORIZED.value, wrong[:80]
        for wrong in INSIDE:
            await connection.publish(wrong, GOOD)
            await connection.publish(topic("good-topic"), GOOD)
        await received(serving, before.received + 2 * len(INSIDE))
    after = accounting(serving)
    assert (after.refused - before.refused, after.stored - before.stored) == (len(INSIDE), len(INSIDE))
    assert known(serving) == devices
    kept = serving.query("SELECT topic, tenant_id, device_id FROM quarantine_events WHERE reason = 'BAD_TOPIC_FORMAT'")
    assert kept
    assert all(len(shown.encode()) <= 256 and (tenant, device) == (None, None) for shown, tenant, device in kept)
    assert "y" * 1000 not in serving.log.read_text()


async def test_strange_ids_over_http(serving: ApplianceProcess) -> None:
    before, devices = accounting(serving), known(serving)
    for segment in STRANGE_IDS:
        answer = await caller(serving).post(f"/ingest/tenant/{TENANT}/device/{quote(segment, safe='')}/telemetry", GOOD)
        assert (answer.status, answer.json()["code"]) == (400, "BAD_TOPIC_FORMAT"), (segment, answer)
    after = accounting(serving)
    assert after.stored == before.stored
    assert known(serving) == devices


async def test_what_http_refuses_as_a_whole(serving: ApplianceProcess) -> None:
    """H11, H12, H13, P15, H21 where they touch ingest: nothing is received, and nothing answers 5xx."""
    path = f"/ingest/{topic('whole')}"
    before = accounting(serving)
    http = caller(serving)
    for method in ("TRACE", "CONNECT", "PUT", "DELETE", "GET", "PATCH"):
        answer = await http.post(path, GOOD, method=method)
        assert (answer.status, "POST" in answer.headers["allow"]) == (405, True), method
    for kind in ("text/plain", "multipart/form-data; boundary=x", "", None, "application/json; charset=utf-7"):
        assert (await http.post(path, GOOD, {"Content-Type": kind})).status == 415, kind
    bomb = gzip.compress(b'{"a":"' + b" " * 50_000_000 + b'"}', 9)
    assert (await http.post(path, bomb, {"Content-Encoding": "gzip"})).status == 415
    assert (await http.post(path, GOOD.ljust(1024 * 1024 + 1), hold_back=True)).status == 413
    assert (await http.post(path, json.dumps([{"a": 1}] * 1001).encode())).status == 413
    for url in (
        f"{path}%00",
        f"{path}%ff",
        f"{path}/",
        f"{path}/..%2f",
        "/ingest/tenant//device//telemetry",
        f"/{path}",
    ):
        assert (await http.post(url, GOOD)).status in {400, 404}, url
    assert (await http.post(f"{path}?{'a=&' * 1000}", GOOD)).status == 400
    assert accounting(serving) == before
    # A body of 1 MiB is taken, and is too large for a message.
    assert (await http.post(path, GOOD.ljust(1024 * 1024))).status == 413
    assert accounting(serving).refused == before.refused + 1


async def test_who_may_not_speak_for_a_device_is_told_one_thing(serving: ApplianceProcess) -> None:
    """H14: whatever is wrong with a token, the answer is the same to the byte, and nothing is provisioned."""
    own = await trio.to_thread.run_sync(serving.command, "device", "add", TENANT, "h14")
    gone = await trio.to_thread.run_sync(serving.command, "device", "add", TENANT, "h14-gone")
    by = ChangeContext(Actor("test", ActorKind.COMMAND), datetime.now(UTC), datetime.now(UTC), user_id=None)
    async with await connect(serving.conninfo()) as connection:
        await changes.delete(connection, TENANT, "h14-gone", by, keep_history=True)
    claim = serving.tenant(TENANT)["password"]
    before = accounting(serving)
    wrong: list[tuple[str, str | None]] = [
        (topic("h14"), None),
        (topic("h14"), "Bearer wrong"),
        (topic("h14"), "Bearer "),
        (topic("h14"), f"Basic {own['token']}"),
        (topic("h14"), f"Bearer {claim}"),
        (f"{topic('h14')}?token={own['token']}&access_token={own['token']}", None),
        (topic("h14-gone"), f"Bearer {gone['token']}"),
        (topic("h14-other"), f"Bearer {own['token']}"),
        (topic("h14-never-seen"), "Bearer wrong"),
        ("tenant/nobody/device/h14/telemetry", f"Bearer {own['token']}"),
        ("tenant/nobody/device/h14/telemetry", f"Bearer {claim}"),
    ]
    http = Caller(serving, own["token"])
    answers = set()
    for path, authorization in wrong:
        answer = await http.post(f"/ingest/{path}", GOOD, {"Authorization": authorization})
        answers.add((answer.status, answer.headers["www-authenticate"], answer.body))
    [(status, _, _)] = answers
    assert status == 401
    assert (await http.post(f"/ingest/{topic('h14')}", GOOD)).status == 202
    assert accounting(serving).received == before.received + 1
    assert serving.query("SELECT 1 FROM device_registry WHERE device_id IN ('h14-other', 'h14-never-seen')") == []


async def test_limits_are_told_with_their_status(serving: ApplianceProcess) -> None:
    """H15, H17: another's id 409, an empty bucket 429 with Retry-After (the device's or the tenant's), no seat 402."""
    small = await trio.to_thread.run_sync(serving.tenant, "small", 1)
    http = Caller(serving, small["password"])

    async def post(device: str, payload: bytes = GOOD) -> Answer:
        return await http.post(f"/ingest/tenant/small/device/{device}/telemetry", payload)

    async def post_until(expected: int) -> Answer:
        """A change in the database takes effect within a second (P23)."""
        changed = asked = trio.current_time()
        while (answer := await post("seated")).status != expected:
            assert asked < changed + within(1.0), (expected, answer)
            asked = trio.current_time()
        return answer

    assert (await post("seated")).status == 202
    assert (await post("seated", b'{"device_id":"d","a":1}')).status == 409
    assert (await post("seated", b'{"tenant_id":"d","a":1}')).status == 409
    assert (await post("unseated")).status == 402
    serving.query("UPDATE device_registry SET rate = 0.1, burst = 1 WHERE tenant_id = 'small' RETURNING 1")
    answer = await post_until(429)
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert answer.json()["code"] == Reason.RATE_LIMITED.value
    serving.query("UPDATE device_registry SET rate = NULL, burst = NULL WHERE tenant_id = 'small' RETURNING 1")
    await post_until(202)
    serving.query("UPDATE tenants SET tenant_rate = 1e-3 WHERE tenant_id = 'small' RETURNING 1")
    answer = await post_until(429)
    assert 1 <= int(answer.headers["retry-after"]) <= 1000
    accounting(serving)


async def test_a_client_that_hangs_up_is_stored_once_or_not_at_all(serving: ApplianceProcess) -> None:
    """H19: it goes away after the body and before the answer; sent again with its own time, it is there once."""
    http = caller(serving)
    path, base = f"/ingest/{topic('hasty')}", int(time.time() * 1000) - 60_000
    for number in range(20):
        payload = b'{"ts":%d,"seq":%d,"a":1}' % (base + number, number)
        await http.hang_up(path, payload)
        answer = await http.post(path, payload)
        assert (answer.status, sum(answer.json().values())) == (202, 1)
    rows = serving.query("SELECT seq FROM telemetry WHERE device_id = 'hasty' ORDER BY seq")
    assert rows == [(number,) for number in range(20)]
    accounting(serving)


def credential(serving: ApplianceProcess, device: str) -> dict[str, Any]:
    """A device with a credential of its own."""
    made: dict[str, Any] = serving.command("device", "add", TENANT, device)
    return made


def as_device(serving: ApplianceProcess, issued: dict[str, Any]) -> Client:
    return Client(
        "127.0.0.1", serving.mqtt_port, identifier=issued["device_id"], username=issued["username"],
        password=issued["password"],
    )  # fmt: skip


async def test_a_device_speaks_and_hears_only_for_itself(serving: ApplianceProcess) -> None:
    """M07, M08, M09, M21: PUBACK 0x87, and nothing stored; of what others send, nothing is delivered."""
    one, two = credential(serving, "one"), credential(serving, "two")
    before = accounting(serving)
    foreign = [
        topic("two"), topic("two", "heartbeat"), topic("never-seen"), "tenant/other/device/one/telemetry", "$SYS/x",
        "$CONTROL/dynamic-security/v1", topic("one", "down/x"), f"{topic('one')}/x",
    ]  # fmt: skip
    filters = [
        "#", "+/+/#", "$SYS/#", "cmd/+/#", "$share/g/#", topic("two", "down/#"), topic("+", "+"), "tenant/+/device/+/+",
    ]  # fmt: skip
    async with as_device(serving, one) as first, as_device(serving, two) as second:
        for wrong in foreign:
            with pytest.raises(NegativeAckError) as refused:
                await first.publish(wrong, GOOD)
            assert refused.value.reason_code.value == PubAckReasonCode.NOT_AUTHORIZED.value, wrong
        for pattern in filters:
            with contextlib.suppress(NegativeAckError):  # Mosquitto 2.0 grants all, and delivers what may be read
                await first.subscribe(pattern)
        await second.publish(topic("two"), GOOD)
        await first.publish(topic("one"), GOOD)
        # A round trip more: whatever the broker had for us came before this answer.
        await first.subscribe(topic("one", "down/#"))
        assert first.statistics().received == 0
        await received(serving, before.received + 2)
    after = accounting(serving)
    assert (after.received, after.stored) == (before.received + 2, before.stored + 2)
    assert serving.query("SELECT 1 FROM device_registry WHERE device_id = 'never-seen'") == []

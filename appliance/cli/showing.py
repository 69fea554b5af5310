"""``appliance simulate --show``: every reason of refusal provoked on the real broker, and looked up in the counters."""

import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime

import click
import trio

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.ca import trusting_context
from appliance.cli.demo_fixture import Logins, refusing_rows, set_up
from appliance.cli.output import plain, show_rows
from appliance.config import Config
from appliance.failpoints import IN_A_CHECK, VARIABLE
from appliance.ingest.quarantine import store
from appliance.ingest.quarantine.store import OPERATOR, Selection
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError, with_reason
from appliance.reading import Reason
from appliance.simulate.publish import BrokerAddress
from appliance.simulate.scenes import DEMO_TENANTS, NOBODY, SCENES, Props, Scene

PATIENCE_SECONDS = 8.0
"""Seconds from the first message; a reason not counted by then counts as not shown."""
AGAIN_SECONDS = 1.5
"""Seconds after which an uncounted message is sent again: a change takes up to a second to reach ingest."""
POLL_SECONDS = 0.2
HTTP_SECONDS = 5.0
NO_SESSION = 0
"""Seconds for which the broker keeps a session. When a waiting session's user gets a new password, Mosquitto 2.0.11
treats the session as expired and disconnects a client that has resumed it."""

COLUMNS = ("reason", "seen", "how", "note")

NOT_SEEN = "not seen: see the appliance's log"
NEEDS_FAILPOINT = f"needs the appliance started with {VARIABLE}={IN_A_CHECK}"
NEEDS_TOKENS = "needs ingest.require_payload_token = true"
NEEDS_OPEN_BROKER = "needs ingest.require_token = false, for HTTP, or an external broker"


@dataclass(slots=True)
class ShownReason:
    """The outcome of one scene. ``seen``: by how many messages the exact counters rose."""

    reason: Reason
    how: str
    seen: int = 0
    note: str = ""
    failed: bool = False


def parse(text: str) -> Sequence[Scene]:
    """Return the scenes that ``--show`` names: ``all``, or reasons separated by commas. Raises ValueError."""
    if text.lower() == "all":
        return SCENES
    wanted = {word.strip().upper() for word in text.split(",")}
    unknown = wanted - {reason.value for reason in Reason}
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a reason; the reasons are: {', '.join(Reason)}")
    return [scene for scene in SCENES if scene.reason.value in wanted]


def show(invocation: Invocation, scenes: Sequence[Scene], web_url: str, broker: BrokerAddress, *, as_json: bool) -> int:
    """Play ``scenes`` and print the outcome of each; return 1 if a possible one was not seen."""
    if not as_json:
        click.echo(f"uses the demo tenants {', '.join(DEMO_TENANTS)}, and keeps them", err=True)

    async def work(administration: Administration) -> list[ShownReason]:
        return await Show(administration, invocation.config, scenes, web_url, broker).play()

    shown = administer(invocation, work)
    show_rows([plain(one) for one in shown], COLUMNS, as_json=as_json)
    return int(any(one.failed for one in shown))


class Show:
    """One run of the scenes."""

    def __init__(
        self,
        administration: Administration,
        config: Config,
        scenes: Sequence[Scene],
        web_url: str,
        broker: BrokerAddress,
    ) -> None:
        self._administration = administration
        self._config = config
        self._web_url = web_url
        self._tls = trusting_context(config)
        self._broker = broker
        self._shown = {scene.reason: ShownReason(scene.reason, scene.how) for scene in scenes}
        self._scenes = [scene for scene in scenes if not self._impossible(scene)]
        self._clients: dict[str, Client] = {}
        self._seq = 0

    @property
    def _external(self) -> bool:
        """Whether the broker is external: then one user sends everything."""
        return self._config.broker.url is not None

    def _impossible(self, scene: Scene) -> bool:
        """Return whether the configuration makes the scene impossible, and note what it needs."""
        ingest, note = self._config.ingest, ""
        if scene.reason is Reason.TOKEN_MISSING and not ingest.require_payload_token:
            note = NEEDS_TOKENS
        if scene.reason is Reason.UNKNOWN_TENANT and ingest.require_token and not self._external:
            note = NEEDS_OPEN_BROKER
        self._shown[scene.reason].note = note
        return bool(note)

    async def play(self) -> list[ShownReason]:
        """Create the demo tenants, send everything, read the counters; return the outcome of each scene."""
        logins = await set_up(self._administration)
        begun = self._administration.context.now
        before = await self._counts(begun)
        async with AsyncExitStack() as stack:
            if any(scene.reason is Reason.STORE_REFUSED for scene in self._scenes):
                await stack.enter_async_context(refusing_rows(self._administration))
            for user in {self._user(scene) for scene in self._scenes if not self._over_http(scene)}:
                client = self._as_user(user, logins)
                self._clients[user] = await stack.enter_async_context(client)
            with trio.move_on_after(PATIENCE_SECONDS):
                while missing := self._missing():
                    for scene in missing:
                        await self._send(scene, logins)
                    await self._read_counters(begun, before)
                    if [scene.reason for scene in self._missing()] == [Reason.INTERNAL_ERROR]:
                        break
        for scene in self._missing():
            self._give_up(scene)
        return list(self._shown.values())

    def _missing(self) -> list[Scene]:
        return [scene for scene in self._scenes if not self._shown[scene.reason].seen]

    def _give_up(self, scene: Scene) -> None:
        """Note what was not seen. Whether a failpoint is set cannot be found out; everything else should be seen."""
        shown = self._shown[scene.reason]
        shown.failed = scene.reason is not Reason.INTERNAL_ERROR
        shown.note = shown.note or (NOT_SEEN if shown.failed else NEEDS_FAILPOINT)

    # Saying it

    def _user(self, scene: Scene) -> str:
        return self._broker.username or "" if self._external else scene.user

    def _over_http(self, scene: Scene) -> bool:
        return scene.user == NOBODY and not self._external

    def _as_user(self, user: str, logins: Logins) -> Client:
        if user in logins.passwords and not self._external:
            broker = replace(self._broker, username=user, password=logins.passwords[user])
            return broker.client(f"show-{user}", NO_SESSION)
        return self._broker.client("show", NO_SESSION)

    async def _send(self, scene: Scene, logins: Logins) -> None:
        for _ in range(scene.times):
            self._seq += 1
            ingest, retention = self._config.ingest, self._config.retention
            now = self._administration.context.now.timestamp()
            props = Props(now, self._seq, logins.token, ingest.max_payload_bytes, retention.days)
            topic, payload = scene.script(props)
            if self._over_http(scene):
                await trio.to_thread.run_sync(self._post, topic, payload)
                continue
            try:
                await self._clients[self._user(scene)].publish(topic, payload)
            except NegativeAckError as refusal:
                self._shown[scene.reason].note = with_reason(
                    f"refused by the broker: {refusal.reason_code.name}", refusal.reason
                )

    def _post(self, topic: str, payload: bytes) -> None:
        """Post a message. The HTTP status is ignored: the outcome is read from the counters."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._web_url}/ingest/{topic}", payload, headers)  # noqa: S310 - our own
        try:
            urllib.request.urlopen(request, timeout=HTTP_SECONDS, context=self._tls).close()  # noqa: S310 - the same
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except OSError as error:
            self._shown[Reason.UNKNOWN_TENANT].note = f"{self._web_url} cannot be reached: {error}"

    # Reading the counters

    async def _read_counters(self, begun: datetime, before: Mapping[Reason, int]) -> None:
        """Read the counters until everything is seen, or until it is time to send again."""
        with trio.move_on_after(AGAIN_SECONDS):
            while self._missing():
                await trio.sleep(POLL_SECONDS)
                now = await self._counts(begun)
                for reason, shown in self._shown.items():
                    shown.seen = now[reason] - before[reason]

    async def _counts(self, since: datetime) -> Counter[Reason]:
        """Return the exact counters of the demo tenants, and of messages without a tenant."""
        counts: Counter[Reason] = Counter()
        for tenant_id in (*DEMO_TENANTS, OPERATOR):
            selection = Selection(tenant_id=tenant_id, since=since)
            for cause in await store.counts(self._administration.connection, selection):
                counts[cause.reason] += cause.refused
        return counts

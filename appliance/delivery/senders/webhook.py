"""``webhook``: an HTTP POST of the notice as JSON, signed after the Standard Webhooks specification.

``webhook-id`` is the same on every try, so that a receiver can drop a repeat. The signature covers the id, the time of
the try and the body.
"""

import base64
import re
import secrets as random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from standardwebhooks import Webhook

from appliance.delivery.notices.body import body
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.fields import CA, checked, lines
from appliance.delivery.senders.http_outcome import Receiver, send_json
from appliance.delivery.senders.sender import Field, Outcome, Target
from appliance.errors import Invalid
from appliance.reading import HOP_COUNT

SECRET_BYTES = 32
"""Of a signing secret that is made here."""
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
"""As the specification has it."""
MAX_HEADERS = 20
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}):[ \t]*([ -~]*)")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
    | {"webhook-id", "webhook-signature", "webhook-timestamp", HOP_COUNT}
)
"""Headers that are made here, or that change how a request is read."""


def signing_secret() -> str:
    """Return a new secret in the form of the specification."""
    return f"whsec_{base64.b64encode(random.token_bytes(SECRET_BYTES)).decode()}"


_HEADERS = Field(
    "headers",
    "Headers",
    "lines",
    hint="One a line, as Name: value. They are shown to everybody who sees the integration.",
    placeholder="X-Environment: production",
)
_SECRET_HEADERS = Field(
    "secret_headers",
    "Secret headers",
    "lines",
    secret=True,
    hint="One a line, such as X-Api-Key: value. Never shown again.",
    placeholder="X-Api-Key: ...",
)


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """The type ``webhook``."""

    type: str = "webhook"
    label: str = "Webhook"
    icon: str = "i-webhook"
    may_merge: bool = True
    fields: Sequence[Field] = (
        Field("url", "Address", "url", required=True, placeholder="https://hooks.example/alerts"),
        Field(
            "authorization",
            "Authorization header",
            "text",
            secret=True,
            hint="The whole value. Never shown again.",
            placeholder="Bearer ...",
        ),
        _HEADERS,
        _SECRET_HEADERS,
        CA,
        Field(
            "signing_secret",
            "Signing secret",
            "text",
            required=True,
            secret=True,
            hint="Receivers check signatures with it.",
            generate=signing_secret,
        ),
    )

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        found["url"] = parse(found["url"], "url").text
        if "headers" in found:
            found["headers"] = [f"{name}: {value}" for name, value in _headers(_HEADERS, found["headers"])]
            if any(line.lower().startswith(("authorization:", "proxy-authorization:")) for line in found["headers"]):
                raise Invalid("Authorization is a secret; use the field for it.", "headers")
        for _ in _headers(_SECRET_HEADERS, lines(_SECRET_HEADERS, secrets.get("secret_headers", ""))):
            pass
        if not _is_signing_secret(secrets["signing_secret"]):
            raise Invalid(
                f"The signing secret must be whsec_ and {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes in Base64; "
                "leave it out, and one is made.",
                "signing_secret",
            )
        if not all(" " <= sign <= "~" for sign in secrets.get("authorization", "")):
            raise Invalid("The Authorization header may hold visible ASCII characters only.", "authorization")
        return found

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return where the address leads."""
        return [parse(config["url"], "url").destination]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send the notice once."""
        config, secrets = target.config, target.secrets
        content = body(notice)
        headers = list(_signed(secrets["signing_secret"], notice, content))
        signature = headers[-1][1]
        headers += _headers(_HEADERS, config.get("headers", ()))
        secret_headers = list(_headers(_SECRET_HEADERS, lines(_SECRET_HEADERS, secrets.get("secret_headers", ""))))
        authorization = secrets.get("authorization", "").strip()
        if authorization:
            secret_headers.append(("Authorization", authorization))
        receiver = Receiver(config["url"], config.get("ca"))
        hidden = [secrets["signing_secret"], *(value for _, value in secret_headers)]
        hidden += [signature, signature.partition(",")[2]]  # made of the secret: a text to guess it by
        whole = [*headers, *secret_headers]
        return await send_json(network, receiver, notice, content, headers=whole, secrets=hidden)


def _is_signing_secret(text: str) -> bool:
    prefix, _, encoded = text.strip().partition("_")
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except ValueError:
        return False
    return prefix == "whsec" and LEAST_SECRET_BYTES <= size <= MOST_SECRET_BYTES


def _signed(secret: str, notice: Notice, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the three headers of the specification, and the one by which a loop through others ends."""
    message_id = f"msg_{notice.message_id.hex}"
    made_at = notice.made_at.astimezone(UTC)
    yield "webhook-id", message_id
    yield "webhook-timestamp", str(int(made_at.timestamp()))
    yield HOP_COUNT, str(notice.hop_count)
    yield "webhook-signature", Webhook(secret.strip()).sign(message_id, made_at, content.decode())


def _headers(field: Field, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line. Raises Invalid."""
    if len(given) > MAX_HEADERS:
        raise Invalid(f"At most {MAX_HEADERS} headers can be set.", field.name)
    for number, line in enumerate(given, 1):
        found = _HEADER.fullmatch(line)
        if found is None:
            raise Invalid(f"Line {number} is not a header; write Name: value, in visible ASCII characters.", field.name)
        if found[1].lower() in _OURS:
            raise Invalid(f"The header {found[1]} cannot be set.", field.name)
        yield found[1], found[2].rstrip()


SENDER = WebhookSender()

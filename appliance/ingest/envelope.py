"""From payload bytes to an :class:`Envelope` or a :class:`Refusal`: checks 4 to 6 of the order of checks.

Pure and synchronous. Nothing here uses a clock, a registry or a database; the content of a message is parsed, checked
and put into the form that is stored. RFC 8259 is the grammar of the payload, RFC 3339 that of ``ts``.
"""

import re
from datetime import datetime
from typing import Any

import msgspec

from appliance.ingest.malformed import json_mistake, time_mistake
from appliance.reading import Kind, Reason, Refusal

MAX_DEPTH = 32
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
MAX_METRICS = 64
MAX_TEXT = 256
"""Characters of a text metric, and of the provision token."""
INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
MILLISECONDS_ABOVE = 100_000_000_000
"""A numeric ``ts`` above this is milliseconds: as seconds it would lie past the year 5138."""
FARTHEST = 1e300
"""A ``ts`` past this is clamped to it: it is wrong either way, and would be infinite in microseconds."""

_LATITUDES = ("lat", "latitude")
_LONGITUDES = ("lng", "lon", "long", "longitude")
_PLACES = frozenset(_LATITUDES + _LONGITUDES)
_CLAIMS = frozenset({"site_id", "tenant_id", "device_id", "provision_token"})
_RARE = _CLAIMS | _PLACES
RESERVED = _RARE | {"ts", "seq", "metrics"}
"""Top-level keys that have a meaning of their own; those of a position are metrics where they make up none."""
_ALWAYS_GOOD = frozenset({float, bool})
"""Types of a metric that need no further check: the JSON decoder lets only finite numbers pass."""

_STATUS = Kind.STATUS
_STATUSES = {"online": "online", "offline": "offline", "true": "online", "false": "offline"}
"""The words of a status message, in lower case, and what they say."""
STATUS_FORMS = 'the body of a status message is `online` or `offline`, `true` or `false`, or {"state": "online"}'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_DIGITS = "0123456789"
_MAX_KNOWN_NAMES = 4096

_TYPE_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The content of one message.

    ``ts`` is the device's own time in microseconds since 1970 UTC, or None when the message carries none; it is not
    yet judged. ``encoded`` is the JSON of ``metrics`` as it is stored; ``nulls`` counts metrics left out as null.
    ``plain``: it is no status message, and holds nothing but metrics, ``ts`` and ``seq``. ``unplaced`` is 1 if it has
    a part of a position and no position: the part is among the metrics. ``site`` is an id or a name, as given.
    """

    metrics: dict[str, int | float | bool | str]
    encoded: bytes
    ts: int | None = None
    seq: int | None = None
    plain: bool = True
    nulls: int = 0
    site: str | None = None
    tenant_id: str | None = None
    device_id: str | None = None
    token: str | None = None
    lat: float | None = None
    lng: float | None = None
    unplaced: int = 0


EMPTY = Envelope(metrics={}, encoded=b"{}")


class InvalidEnvelope(Exception):
    """Carries a refusal out of nested checks; is never raised out of this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.refusal = Refusal(reason, detail)


class Decoder:
    """Parses payloads. Each pipeline has one, which remembers the metric names it has already checked."""

    def __init__(self) -> None:
        self._parse = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode
        self._known_names: set[str] = set()

    def decode(self, payload: bytes, kind: Kind) -> Envelope | Refusal:
        """Return the envelope in ``payload``, or the refusal by the first check that failed. Never raises."""
        try:
            if kind is _STATUS:
                return self._status(payload)
            payload.decode()  # check 4: a decoder of JSON does not look at all of the text
            try:
                data = self._parse(payload)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                return _unreadable(error, payload, kind)
            if type(data) is not dict:
                _check_depth(data)
                raise InvalidEnvelope(
                    Reason.INVALID_PAYLOAD, f"the payload is {_named(data)}; it must be a JSON object"
                )
            ts = data.pop("ts", None)
            seq = data.pop("seq", None)
            if (
                self._known_names.issuperset(data)
                and _ALWAYS_GOOD.issuperset(map(type, data.values()))
                and len(data) <= MAX_METRICS
                and (seq is None or (type(seq) is int and 0 <= seq <= INT64_MAX))
            ):
                # The usual message: names that were checked before, none of them reserved, no value that needs a look.
                return Envelope(data, self._encode(data), None if ts is None else _timestamp(ts), seq)
            return self._envelope(data, ts, seq)
        except UnicodeDecodeError as error:
            return Refusal(Reason.INVALID_ENCODING, f"not UTF-8 at byte {error.start}")
        except InvalidEnvelope as verdict:
            return verdict.refusal

    def _status(self, payload: bytes) -> Envelope | Refusal:
        """Run checks 4 to 6 on a status message: a word, or an object with ``state``.

        Of an object only ``state`` and the claims count. Its ``ts`` does not: a will is written when the device
        connects, so its time would be that of the connection.
        """
        body: Any = payload.decode()
        claims: dict[str, Any] = {}
        word = _status_word(body)
        if word is None:
            try:
                body = self._parse(payload)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                if payload.lstrip()[:1] == b"{":
                    return _unreadable(error, payload, Kind.STATUS)
                raise InvalidEnvelope(Reason.INVALID_PAYLOAD, STATUS_FORMS) from None
            if type(body) is dict:
                _check_depth(body)
                claims, body = body, body.get("state")
            word = _status_word(body)
        if word is None:
            raise InvalidEnvelope(Reason.INVALID_PAYLOAD, STATUS_FORMS)
        return Envelope(
            {"status": word},
            b'{"status":"%b"}' % word.encode(),
            plain=False,
            site=_text(claims, "site_id", MAX_TEXT),
            tenant_id=_text(claims, "tenant_id", MAX_TEXT),
            device_id=_text(claims, "device_id", MAX_TEXT),
            token=_text(claims, "provision_token", MAX_TEXT),
        )

    def _envelope(self, data: dict[str, Any], ts: Any, seq: Any) -> Envelope:
        """Run check 6, the shape, on any message; ``ts`` and ``seq`` are removed from ``data`` already."""
        plain = _RARE.isdisjoint(data)
        position, unplaced = (None, {}) if plain or _PLACES.isdisjoint(data) else _position(data)
        given: Any = data
        if "metrics" in data:
            given = data["metrics"]
            if len(data) > 1:
                _check_depth(data)
            if unplaced and type(given) is dict:
                given = unplaced | given
        elif not plain:
            _check_depth(data)
            given = {name: value for name, value in data.items() if name not in _RARE} | unplaced
        metrics, nulls = self._metrics(given)
        own = None if ts is None else _timestamp(ts)
        if seq is not None and (type(seq) is not int or not 0 <= seq <= INT64_MAX):
            raise InvalidEnvelope(Reason.INVALID_PAYLOAD, "`seq` must be an integer from 0 to 9223372036854775807")
        if plain:
            return Envelope(metrics, self._encode(metrics), own, seq, True, nulls)
        lat, lng = position or (None, None)
        return Envelope(
            metrics,
            self._encode(metrics),
            own,
            seq,
            False,
            nulls,
            _text(data, "site_id", MAX_TEXT),
            _text(data, "tenant_id", MAX_TEXT),
            _text(data, "device_id", MAX_TEXT),
            _text(data, "provision_token", MAX_TEXT),
            lat,
            lng,
            int(bool(unplaced) and position is None and any(value is not None for value in unplaced.values())),
        )

    def _metrics(self, given: Any) -> tuple[dict[str, Any], int]:
        """Return the metrics without nulls, and the number of nulls. The usual message is checked without a loop."""
        if type(given) is not dict:
            _check_depth(given)
            raise InvalidEnvelope(Reason.INVALID_METRIC, f"`metrics` is {_named(given)}; it must be an object")
        if len(given) > MAX_METRICS:
            raise InvalidEnvelope(Reason.TOO_MANY_METRICS, f"{len(given)} metrics; at most {MAX_METRICS} a message")
        if not self._known_names.issuperset(given):
            for name in given:
                self._learn(name)
        if _ALWAYS_GOOD.issuperset(map(type, given.values())):
            return given, 0
        nulls = 0
        for name, value in given.items():
            if value is None:
                nulls += 1
            elif type(value) is not int or not INT64_MIN <= value <= INT64_MAX:
                _check_metric(name, value)
        if nulls:
            return {name: value for name, value in given.items() if value is not None}, nulls
        return given, 0

    def _learn(self, name: str) -> None:
        """Check a metric name once; the set of valid names is bounded and holds no reserved ones."""
        if not _NAME.fullmatch(name):
            shown = name if len(name) <= 64 else f"{name[:64]}..."
            raise InvalidEnvelope(
                Reason.INVALID_METRIC,
                f"`{shown}` is no metric name: a letter or `_`, then up to 63 of letters, digits, `_`, `.`, `-`",
            )
        if name in RESERVED:  # inside `metrics` it is a name like any other
            return
        if len(self._known_names) >= _MAX_KNOWN_NAMES:
            self._known_names.clear()
        self._known_names.add(name)


def _check_metric(name: str, value: Any) -> None:
    """Check one metric that is not null. The JSON decoder lets only finite numbers pass."""
    if type(value) is int:
        if not INT64_MIN <= value <= INT64_MAX:
            raise InvalidEnvelope(Reason.INVALID_PAYLOAD, f"`{name}` does not fit a signed 64-bit integer")
    elif type(value) is str:
        if len(value) > MAX_TEXT:
            raise InvalidEnvelope(
                Reason.INVALID_METRIC, f"`{name}` is text of {len(value)} characters; at most {MAX_TEXT}"
            )
        if "\0" in value:
            raise InvalidEnvelope(Reason.INVALID_METRIC, f"`{name}` holds the character U+0000")
    elif type(value) not in _ALWAYS_GOOD:
        _check_depth({name: value})
        raise InvalidEnvelope(
            Reason.INVALID_METRIC, f"`{name}` is {_named(value)}; a metric is a number, a boolean or text"
        )


def _unreadable(error: Exception, payload: bytes, kind: Kind) -> Envelope | Refusal:
    """Run checks 5 and 6 on a payload that the JSON decoder refuses; it may be an empty heartbeat."""
    if isinstance(error, msgspec.ValidationError):
        return Refusal(Reason.INVALID_METRIC, "a number is too large: it must be finite")
    if not isinstance(error, msgspec.DecodeError):
        return Refusal(Reason.INVALID_JSON, TOO_DEEP)
    if payload.strip():
        return Refusal(Reason.INVALID_JSON, json_mistake(error, payload))
    if kind is Kind.HEARTBEAT:
        return EMPTY
    return Refusal(Reason.INVALID_PAYLOAD, "the payload is empty; it must be a JSON object")


def _check_depth(value: Any) -> None:
    """Refuse objects and lists nested deeper than MAX_DEPTH. Level by level, so that input never fills the stack."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for item in level if type(item) in (dict, list)]
        if not level:
            return
        level = [inner for item in level for inner in (item.values() if type(item) is dict else item)]
    raise InvalidEnvelope(Reason.INVALID_JSON, TOO_DEEP)


def _named(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), "null")


def _timestamp(ts: Any) -> int:
    """Return ``ts`` in microseconds since 1970 UTC. Only its form is checked here, not its value."""
    if type(ts) is int:
        if MILLISECONDS_ABOVE < ts <= INT64_MAX:
            return ts * 1000
        if not INT64_MIN <= ts <= INT64_MAX:
            raise InvalidEnvelope(Reason.INVALID_TIMESTAMP, "`ts` does not fit a signed 64-bit integer")
        return ts * 1_000_000
    if type(ts) is float:
        return _microseconds(max(-FARTHEST, min(ts, FARTHEST)))
    if type(ts) is str:
        return _rfc3339(ts)
    raise InvalidEnvelope(Reason.INVALID_TIMESTAMP, f"`ts` is {_named(ts)}; it must be a number or RFC 3339 text")


def _microseconds(number: float) -> int:
    """Return seconds, or milliseconds, as microseconds; what lies beyond is cut, as it is in text.

    The product is off by a binary fraction, so it is rounded; one above what was given is then one too many.
    """
    scale = 1000 if number > MILLISECONDS_ABOVE else 1_000_000
    found = round(number * scale)
    return found - 1 if found / scale > number else found


def _rfc3339(text: str) -> int:
    """Return microseconds since 1970 UTC. RFC 3339 with an offset; no leap second; past 6 digits of a second is cut."""
    dot = text.find(".")
    if dot >= 0 and text[dot + 7 : dot + 8].isdigit():
        text = text[: dot + 7] + text[dot + 7 :].lstrip(_DIGITS)
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise InvalidEnvelope(Reason.INVALID_TIMESTAMP, time_mistake(text)) from None
    if moment.tzinfo is None:
        raise InvalidEnvelope(Reason.INVALID_TIMESTAMP, "`ts` has no offset: end it with Z or +01:00")
    return round(moment.timestamp() * 1_000_000)  # a float of seconds is exact to 0.2 microseconds until 2038 and past


def _text(data: dict[str, Any], key: str, longest: int) -> str | None:
    """Return the value of a reserved text key; null counts as left out."""
    value = data.get(key)
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= longest or "\0" in value:
        raise InvalidEnvelope(Reason.INVALID_PAYLOAD, f"`{key}` must be text of 1 to {longest} characters")
    return value


def _position(data: dict[str, Any]) -> tuple[tuple[float, float] | None, dict[str, Any]]:
    """Return latitude and longitude in degrees, if both are there and possible, and what is no part of a position.

    Of several names for one of them the first that is possible counts. The rest are metrics like any other.
    """
    parts = {name: data[name] for name in data if name in _PLACES}
    lat, lng = _possible(parts, _LATITUDES, 90), _possible(parts, _LONGITUDES, 180)
    if lat is None or lng is None:
        return None, parts
    return (float(parts.pop(lat)), float(parts.pop(lng))), parts


def _possible(data: dict[str, Any], names: tuple[str, ...], limit: int) -> str | None:
    """Return the first of ``names`` that holds a number of degrees from -limit to limit."""
    for name in names:
        value: Any = data.get(name)
        if type(value) in (int, float) and -limit <= value <= limit:
            return name
    return None


def _status_word(body: Any) -> str | None:
    """Return what a word says, or JSON's true or false, or None."""
    word = str(body) if type(body) is bool else body
    return _STATUSES.get(word.strip().lower()) if type(word) is str else None

"""What must hold of the keys of the broker: the address, who we are there, and the files of TLS."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.config.schema import Broker
from appliance.config.secret import weakness
from appliance.mqtt.transport import Address, TlsFileError
from appliance.mqtt.transport.address import parse

KEYS: Mapping[str, str] = {
    "ca_file": "broker.ca_file",
    "certificate_file": "broker.client_certificate_file",
    "key_file": "broker.client_key_file",
}
"""The keys of the parts of ``TlsFiles``."""
_CLEAR_TEXT = (
    "sends the password in clear text to another machine; use mqtts:// or wss://, unless the way there is encrypted"
)
_QUERY = (
    "has a query, which may hold a token, and the address is shown on pages and in logs; leave it out, and use "
    "broker.username and broker.password"
)


def broker_faults(broker: Broker) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong: the keys concerned and the message. Reads the files of TLS."""
    address = None
    if broker.url is not None:
        try:
            address = parse(broker.url)
        except ValueError as error:
            hint = " (broker.username and broker.password)" if "@" in broker.url else ""
            yield ("broker.url",), f"{error}{hint}"
            return
        if "?" in address.path and address.websocket:
            yield ("broker.url",), _QUERY
    if address is None and (broker.username or broker.password):
        keys = ("broker.username", "broker.password")
        yield keys, "is for an external broker; set broker.url too, or leave it out"
    if address is not None and broker.bind_client_ids:
        yield ("broker.bind_client_ids", "broker.url"), "is for the embedded broker; leave it out"
    if broker.password and not broker.username:
        yield ("broker.password",), "needs broker.username too"
    if broker.password and (weak := weakness(broker.password.reveal())):
        yield ("broker.password",), weak
    yield from _tls_faults(broker, address)


def _tls_faults(broker: Broker, address: Address | None) -> Iterator[tuple[tuple[str, ...], str]]:
    files = broker.tls_files()
    given = [part for part in KEYS if getattr(files, part) is not None]
    if given and not (address is not None and address.encrypted):
        words = "is for an external broker under TLS; write mqtts:// or wss:// in broker.url, or leave it out"
        yield from (((KEYS[part],), words) for part in given)
        return
    if files.key_file is not None and files.certificate_file is None:
        yield (KEYS["key_file"],), "needs broker.client_certificate_file too"
        return
    if given:
        try:
            files.context()
        except TlsFileError as error:
            yield (KEYS[error.part],), str(error)
            return
    part = "key_file" if files.key_file is not None else "certificate_file"
    if (path := files.key_file or files.certificate_file) and (fault := _everybody_may_read(path)):
        yield (KEYS[part],), fault


def _everybody_may_read(path: Path) -> str | None:
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return f"holds a private key, and everybody may use {path} (mode {mode & 0o777:04o}); run: chmod o-rw {path}"
    return None


def broker_warnings(broker: Broker) -> Iterator[tuple[str, str]]:
    """Yield what works and yet may not be what is meant."""
    address = broker.address()
    if address is not None and broker.password is not None and not address.encrypted and not _is_here(address):
        yield "broker.url", _CLEAR_TEXT


def _is_here(address: Address) -> bool:
    return address.scheme == "unix" or address.host in {"localhost", "::1"} or address.host.startswith("127.")

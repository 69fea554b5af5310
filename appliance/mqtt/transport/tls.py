"""TLS around another transport: version 1.2 at least, the broker verified, on request a certificate of our own."""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import trio

from appliance.mqtt.transport.stream import Transport

MAX_PEM_BYTES = 4 * 1024 * 1024
"""Bytes of a file of certificates at most; all CAs of a system together have some 250 KiB."""

Part: TypeAlias = Literal["ca_file", "certificate_file", "key_file"]


class TlsFileError(OSError):
    """A file of certificates or keys that cannot be used; the message names the file and what to do."""

    def __init__(self, part: Part, message: str) -> None:
        super().__init__(message)
        self.part: Part = part


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files, as PEM, that say whom to trust and who we are.

    Without ``ca_file`` the CAs of the system are trusted, with it that file alone: CAs, or the broker's certificate.
    ``certificate_file`` is our own one with its chain; its key is in ``key_file``, or in the same file.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files, and return a client's context that verifies chain and host name. Raises TlsFileError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies both
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is trusted need not be a root
        if self.ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            self._trust(context, self.ca_file)
        if self.certificate_file is not None:
            self._identify(context, self.certificate_file)
        elif self.key_file is not None:
            raise TlsFileError("key_file", "needs a certificate too")
        return context

    def _trust(self, context: ssl.SSLContext, path: Path) -> None:
        if b"-----BEGIN " not in _content("ca_file", path):
            raise TlsFileError("ca_file", f"{path} holds no certificate in PEM form: -----BEGIN CERTIFICATE-----")
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise TlsFileError("ca_file", f"{path} holds no certificate that can be read: {_words(error)}") from None
        if not context.cert_store_stats()["x509"]:
            raise TlsFileError("ca_file", f"{path} holds no certificate")

    def _identify(self, context: ssl.SSLContext, path: Path) -> None:
        certificate = _content("certificate_file", path)
        if b"-----BEGIN CERTIFICATE-----" not in certificate and b"-----BEGIN TRUSTED CERT" not in certificate:
            raise TlsFileError("certificate_file", f"{path} holds no certificate in PEM: -----BEGIN CERTIFICATE-----")
        part: Part = "certificate_file" if self.key_file is None else "key_file"
        file = self.key_file or path
        if b" PRIVATE KEY-----" not in (certificate if self.key_file is None else _content(part, file)):
            hint = "; name the file of its key too" if self.key_file is None else ""
            raise TlsFileError(part, f"{file} holds no private key in PEM: -----BEGIN PRIVATE KEY-----{hint}")
        try:
            context.load_cert_chain(path, self.key_file, password=_no_password)
        except _Encrypted:
            raise TlsFileError(part, f"{file} is encrypted; write the key without a passphrase") from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsFileError(part, f"{file} is not the key of the certificate in {path}") from None
            raise TlsFileError(part, f"{file} cannot be used: {_words(error)}") from None


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS over the stream of another transport. The broker must have a certificate for ``server_hostname``.

    Files are read anew for each connection, so that a certificate which was renewed is used without a restart.
    """

    inner: Transport
    context: ssl.SSLContext | TlsFiles
    server_hostname: str

    @property
    def name(self) -> str:
        """The endpoint of what is inside."""
        return self.inner.name

    async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
        """Return a stream whose handshake is done. Raises ssl.SSLError, or what the inner transport raises.

        A broker that ends TLS without saying so (``close_notify``) has closed the connection, as in HTTPS: MQTT itself
        tells whether it meant to.
        """
        context = self.context
        if isinstance(context, TlsFiles):  # 10 ms with the system's CAs, and disks may hang
            context = await trio.to_thread.run_sync(context.context, abandon_on_cancel=True)
        stream = await self.inner.open(tasks)
        try:
            return await self._encrypted(stream, context)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _encrypted(self, stream: trio.abc.Stream, context: ssl.SSLContext) -> trio.abc.Stream:
        host = self.server_hostname.partition("%")[0].rstrip(".")
        usual, context.sslobject_class = context.sslobject_class, _AllRecords
        try:
            encrypted = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        except ValueError:
            raise OSError("the name of the broker cannot be that of a certificate") from None
        finally:
            context.sslobject_class = usual
        try:
            await encrypted.do_handshake()
        except trio.Cancelled:
            free(encrypted)
            raise
        except trio.BrokenResourceError as error:  # trio's word; what broke it is its cause
            free(encrypted)
            if isinstance(error.__cause__, ssl.SSLEOFError | ssl.SSLSyscallError | ConnectionError):
                words = "the broker closed the connection in the TLS handshake: is it the port for TLS?"
                raise ConnectionError(words) from None
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        return encrypted


def free(stream: trio.abc.Stream) -> None:
    """Free the memory of TLS, some 45 KiB, if that is what a stream is; nobody may use it any more.

    Trio's stream refers to itself: it would stay until cycles are collected, which counts objects, and it has few.
    """
    if isinstance(stream, trio.SSLStream):
        vars(stream).clear()


class _AllRecords(ssl.SSLObject):
    """Reads all TLS records that have come in, where the ssl module hands out one a call.

    Brokers write each message in a record of its own. One a call would mean one turn of the event loop a message, and
    the pump, which waits a little after a small chunk, would take it for all there is.
    """

    _error: ssl.SSLError | None = None
    """What ended the records that were handed out last."""

    def read(self, size: int = 1024, buffer: object = None) -> bytes:  # noqa: ARG002
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        part = super().read(size)
        parts, left = [part], size - len(part)
        while part and left > 0:
            try:
                part = super().read(left)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self._error = error
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


class _Encrypted(Exception):
    """A key asks for its passphrase."""


def _no_password() -> str:
    raise _Encrypted


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "not valid PEM").replace("_", " ").lower()


def _content(part: Part, path: Path) -> bytes:
    """Return the content of a file. Raises TlsFileError."""
    try:
        # O_NONBLOCK: a FIFO without a writer must not hold us here
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TlsFileError(part, f"{path} is not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_PEM_BYTES + 1)
        finally:
            os.close(descriptor)
    except TlsFileError:
        raise
    except (OSError, ValueError) as error:
        raise TlsFileError(part, f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_PEM_BYTES:
        raise TlsFileError(part, f"{path} is larger than {MAX_PEM_BYTES} bytes; is it the right file?")
    return content

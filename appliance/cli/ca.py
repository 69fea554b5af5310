"""``appliance ca``: the CA of this appliance, for comparison with what a browser or a device has been given."""

import ssl
from pathlib import Path

import click
from cryptography import x509

from appliance.children.data_dir import read_instance
from appliance.cli import Invocation
from appliance.cli.output import json_option, show_one
from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.tls.authority import fingerprint
from appliance.tls.own import AUTHORITY


@click.command()
@json_option
@click.option("--pem", is_flag=True, help="Print the certificate itself, as /ca.crt has it.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, pem: bool) -> None:
    """Show the CA by which people and devices trust this appliance, with its SHA-256 fingerprint.

    Works while the appliance runs and while it is stopped.
    """
    file = authority_file(invocation.config)
    text = _read(invocation.config, file)
    if pem:
        click.echo(text.decode("ascii").strip())
        return
    certificate = x509.load_pem_x509_certificate(text)
    name = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    shown = {
        "name": name,
        "fingerprint": fingerprint(certificate),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "file": str(file),
    }
    show_one(shown, as_json=as_json)


def authority_file(config: Config) -> Path:
    """Return where the appliance keeps its CA, if it has one."""
    return config.data_dir / "tls" / AUTHORITY


def trusting_context(config: Config) -> ssl.SSLContext:
    """Return the context of a client that trusts what the system trusts, and the CA of this appliance."""
    context = ssl.create_default_context()
    file = authority_file(config)
    if file.exists():
        context.load_verify_locations(file)
    return context


def _read(config: Config, file: Path) -> bytes:
    read_instance(config.data_dir)  # says what is wrong with the folder as a whole
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ApplianceError(
            "this appliance has no CA of its own: it makes one when it is started with web.tls or broker.tls_port, "
            "unless their certificates are by file"
        ) from None
    except PermissionError:
        raise ApplianceError(
            f"{file} cannot be read: run this command as the user who runs the appliance, or as root"
        ) from None

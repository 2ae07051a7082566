"""What a sandbox tenant is known by: its ids, its private CA, its secret, its certificate."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_urlsafe

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

TENANT_ID = "c0ffee00-0000-4000-8000-000000000001"
TENANT_DOMAIN = "contoso.com"
"""What the tenant may be called instead of its id."""
CLIENT_ID = "c0ffee00-0000-4000-8000-000000000002"
SERVICE_PRINCIPAL_ID = "c0ffee00-0000-4000-8000-000000000003"
"""The object id of the Enterprise application."""
SECRET_VARIABLE = "MAILOVER_CLIENT_SECRET"  # noqa: S105 - the name of the variable
_PEM = serialization.Encoding.PEM
_CA = x509.BasicConstraints(ca=True, path_length=None)
_LOOPBACK = ip_address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids and key material; every file readable by its owner only."""

    directory: Path
    secret: str
    control_token: str
    signing_key: rsa.RSAPrivateKey
    """Signs access tokens."""
    app_certificate: x509.Certificate
    """What the application may sign in with instead of the secret."""

    @property
    def ca_file(self) -> Path:
        """The private CA's certificate."""
        return self.directory / "ca.pem"

    @property
    def server_file(self) -> Path:
        """Certificate and key of the servers, for localhost and 127.0.0.1."""
        return self.directory / "server.pem"

    @property
    def app_file(self) -> Path:
        """Certificate and key of the application."""
        return self.directory / "app.pem"

    @property
    def secret_file(self) -> Path:
        """The client secret."""
        return self.directory / "client-secret"


def make_identity(directory: Path) -> Identity:
    """Make everything anew in ``directory``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_key, server_key, app_key = (rsa.generate_private_key(65537, 2048) for _ in range(3))
    ca = _certificate("Mailover sandbox CA", ca_key, None, ca_key, _CA)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(_LOOPBACK)])
    server = _certificate("localhost", server_key, ca, ca_key, names)
    app = _certificate("Mailover sandbox application", app_key, None, app_key, None)
    identity = Identity(
        directory, token_urlsafe(30), token_urlsafe(30), rsa.generate_private_key(65537, 2048), app
    )
    _write(identity.ca_file, ca.public_bytes(_PEM))
    _write(identity.server_file, server.public_bytes(_PEM) + _private(server_key))
    _write(identity.app_file, app.public_bytes(_PEM) + _private(app_key))
    _write(identity.secret_file, identity.secret.encode())
    return identity


def _certificate(
    name: str,
    key: rsa.RSAPrivateKey,
    issuer: x509.Certificate | None,
    signer: rsa.RSAPrivateKey,
    extension: x509.ExtensionType | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer.subject if issuer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=30),
    )
    if extension:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256())


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)

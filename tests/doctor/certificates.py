"""Certificates with something wrong about them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority of one's own."""

    def __init__(self, name: str = "A CA of the network") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = rsa.generate_private_key(65537, 2048)

    def write_ca(self, path: Path) -> Path:
        """Its own certificate, for those who trust it."""
        builder = _builder(self._name, self._name, self._key, timedelta(days=-1), timedelta(days=9))
        ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        path.write_bytes(ca.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        return path

    def write_pair(
        self,
        path: Path,
        name: str = "localhost",
        *,
        begins: timedelta = timedelta(days=-40),
        ends: timedelta = timedelta(days=40, hours=1),
    ) -> Path:
        """A certificate for ``name`` and its key, owner-only; ``begins`` and ``ends`` count from now."""
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = _builder(subject, self._name, key, begins, ends).add_extension(names, critical=False)
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.touch(0o600)
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM) + private)
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now + begins, now + ends
    )

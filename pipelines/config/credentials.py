"""How the application proves who it is. Nothing secret is read before it is needed."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Discriminator, PrivateAttr, SecretStr, Tag

from pipelines.config.base import Section
from pipelines.config.places import CertificatePath
from pipelines.config.values import EnvironmentName, Site
from pipelines.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Certificate:
    """An X.509 certificate with its RSA key, both PEM; the key unencrypted and never shown."""

    certificate: str
    private_key: SecretStr = field(repr=False)


class _Located(Section):
    """A section that reads the environment or a file later, and then still knows its place in the file."""

    _loc: ClassVar[tuple[str, ...]]
    _where: dict[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, Site):
            self._where = {key: context.where((*self._loc, key)) for key in type(self).model_fields}

    def _fault(self, key: str, what: str, remedy: str) -> ConfigurationError:
        where = f"{self._where[key]}: " if self._where else ""
        return ConfigurationError(f"{where}{'.'.join((*self._loc, key))}: {what}", remedy=remedy)

    def _environment(self, key: str, name: str) -> SecretStr:
        value = os.environ.get(name, "").strip()
        if not value:
            state = "is empty" if name in os.environ else "is not set"
            remedy = f"set {name} where mailover runs (shell, service unit, container secret)"
            raise self._fault(key, f"the environment variable {name} {state}", remedy)
        return SecretStr(value)


class SecretCredential(_Located):
    """A client secret, in an environment variable."""

    _loc = ("tenant", "credential")
    secret_env: EnvironmentName

    def read(self) -> SecretStr:
        """The client secret. Raises ``ConfigurationError`` where the variable is not set."""
        return self._environment("secret_env", self.secret_env)


class CertificateFile(_Located):
    """One PEM file with certificate and private key."""

    _loc = ("tenant", "credential", "certificate")
    path: CertificatePath
    passphrase_env: EnvironmentName | None = None

    def read(self) -> Certificate:
        """Certificate and key. Raises ``ConfigurationError`` for a file or passphrase that does not fit."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        try:
            certificate = x509.load_pem_x509_certificate(self.path.read_bytes())
        except (OSError, ValueError):
            raise self._misfit(
                f"no certificate can be read from {self.path}",
                "put certificate and private key into one PEM file",
            ) from None
        key = self._key()
        if key.public_key() != certificate.public_key():
            raise self._misfit(
                f"the private key in {self.path} does not belong to its first certificate",
                "put the matching pair into it",
            )
        return Certificate(
            certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
            SecretStr(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ).decode("ascii")
            ),
        )

    def _key(self) -> "RSAPrivateKey":
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

        passphrase = None
        if self.passphrase_env:
            passphrase = self._environment("passphrase_env", self.passphrase_env)
        try:
            key = serialization.load_pem_private_key(
                self.path.read_bytes(), passphrase.get_secret_value().encode() if passphrase else None
            )
        except TypeError:
            if passphrase:
                raise self._misfit(
                    f"the private key in {self.path} is not encrypted", "take passphrase_env out"
                ) from None
            raise self._misfit(
                f"the private key in {self.path} is encrypted",
                "name the variable of its passphrase in passphrase_env",
            ) from None
        except (OSError, ValueError, UnsupportedAlgorithm):
            doing = "the passphrase does not open" if passphrase else "nothing can read"
            raise self._misfit(
                f"{doing} the private key in {self.path}", "check the file and the passphrase"
            ) from None
        if not isinstance(key, RSAPrivateKey):
            raise self._misfit(
                f"{self.path} holds a key that is not RSA", "make an RSA key; MSAL signs with RSA only"
            )
        return key

    def _misfit(self, what: str, remedy: str) -> ConfigurationError:
        return self._fault("path", what, remedy)


class CertificateCredential(Section):
    """A certificate with its private key."""

    certificate: CertificateFile

    def read(self) -> Certificate:
        """Certificate and key; errors as of ``CertificateFile.read``."""
        return self.certificate.read()


def _kind(value: object) -> str:
    if isinstance(value, CertificateCredential) or (isinstance(value, dict) and "certificate" in value):
        return "certificate"
    return "secret"


Credential = Annotated[
    Annotated[SecretCredential, Tag("secret")] | Annotated[CertificateCredential, Tag("certificate")],
    Discriminator(_kind),
]

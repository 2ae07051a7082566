"""What can be told before anything is sent: the file, the credential, the certificates."""

import re
import ssl
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pipelines.clock import Clock
from pipelines.config import Certificate, CertificateCredential, Config
from pipelines.config.credentials import SecretCredential
from pipelines.doctor.findings import Area, Check, Finding
from pipelines.errors import ConfigurationError, MailoverError
from pipelines.index.engine import Index
from pipelines.index.mailboxes import addresses_in

FILE = Check(Area.CONFIGURATION, "file")
CREDENTIAL = Check(Area.CONFIGURATION, "credential")
INDEX = Check(Area.CONFIGURATION, "index")
CA_FILE = Check(Area.CONFIGURATION, "ca-file")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RENEW_WITHIN = 30
"""Days before its end in which a certificate is to be renewed: a person has to upload the new one."""
_USAGE = 2


def check_configuration(config: Config, clock: Clock) -> Iterator[Finding]:
    """The file's mode, the credential, the trusted certificates."""
    if config.path:
        yield _file(config, config.path)
    credential = config.tenant.credential
    if isinstance(credential, CertificateCredential):
        path = credential.certificate.path
        yield from _certificate(credential, _shown(path, config), clock)
    else:
        yield _secret(credential)
    if given := config.tenant.endpoints.ca_file:
        yield _ca_file(given, _shown(given, config))


def check_index(config: Config) -> tuple[Finding, frozenset[str]]:
    """Whether the index can be opened, and the mailboxes that Graph feeds now by what it says."""
    url = sa.make_url(config.storage.index)
    subject = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        subject = _shown(path, config)
        if not path.exists():
            return INDEX.ok(subject, "it is not there yet; the first round makes it"), frozenset()
    try:
        with closing(Index(config.storage.index)) as index:
            moved = addresses_in(index, "graph")
    except MailoverError as error:
        return INDEX.failed(subject, error), frozenset()
    on_graph = sum(mailbox.address in moved for mailbox in config.mailboxes)
    return INDEX.ok(subject, f"it can be opened; mailboxes fed by Graph: {on_graph:,}"), moved


def _file(config: Config, path: Path) -> Finding:
    mode = path.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return FILE.warning(
            str(path),
            "others than its owner can write it: whoever changes tenant.endpoints is sent the credential",
            f"chmod 600 {path}",
        )
    if mode & (stat.S_IRGRP | stat.S_IROTH) and sa.make_url(config.storage.index).password:
        return FILE.warning(
            str(path), "others can read it, and storage.index holds a password", f"chmod 600 {path}"
        )
    count = len(config.mailboxes)
    return FILE.ok(str(path), f"{count:,} mailbox{'es' if count != 1 else ''}")


def _secret(credential: SecretCredential) -> Finding:
    subject, name = "client secret", credential.secret_env
    try:
        secret = credential.read().get_secret_value()
    except ConfigurationError as error:
        return CREDENTIAL.failed(subject, error)
    if _GUID.fullmatch(secret):
        return CREDENTIAL.warning(
            subject,
            f"{name} holds a GUID, which is the form of a secret's ID and not of its Value",
            "put the Value into it, which the portal shows once, when the secret is made",
        )
    if len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "'\"":
        return CREDENTIAL.warning(
            subject,
            f"what {name} holds begins and ends with a quotation mark, as if no shell had taken them off",
            f"set {name} without quotation marks: env files of containers and units keep them",
        )
    return CREDENTIAL.ok(subject, f"{name} is set")


def _shown(path: Path, config: Config) -> str:
    """As the file would name it."""
    folder = config.path.absolute().parent if config.path else None
    return str(path.relative_to(folder) if folder and path.is_relative_to(folder) else path)


def _certificate(credential: CertificateCredential, subject: str, clock: Clock) -> Iterator[Finding]:
    path = credential.certificate.path
    try:
        pair = credential.read()
    except ConfigurationError as error:
        yield CREDENTIAL.failed(subject, error)
        return
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield CREDENTIAL.warning(
            subject, "others than its owner can reach it, and it holds a private key", f"chmod 600 {path}"
        )
    yield _validity(subject, pair, clock)


def _validity(subject: str, pair: Certificate, clock: Clock) -> Finding:
    certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
    thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - as the portal shows it
    now = clock.now()
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    renew = "make a new one (see docs/sign-in.md), upload it under Certificates & secrets, and name it here"
    if now < begins:
        return CREDENTIAL.failure(
            subject,
            f"the certificate is valid from {begins:%Y-%m-%d %H:%M} UTC on, not yet",
            "wait until then, or set this computer's clock if it is wrong",
            exit_code=_USAGE,
        )
    if now >= ends:
        return CREDENTIAL.failure(
            subject, f"the certificate expired {(now - ends).days} days ago", renew, exit_code=_USAGE
        )
    left = (ends - now).days
    told = f"the certificate is valid for {left} more days; its thumbprint in Entra: {thumbprint}"
    return CREDENTIAL.warning(subject, told, renew) if left < _RENEW_WITHIN else CREDENTIAL.ok(subject, told)


def _ca_file(path: Path, subject: str) -> Finding:
    try:
        count = len(ssl.create_default_context(cafile=path).get_ca_certs())
    except OSError:
        return CA_FILE.failure(
            subject,
            "it holds no certificates that can be read",
            "give a file of CA certificates in PEM form",
            exit_code=_USAGE,
        )
    return CA_FILE.ok(subject, f"{count} certificate{'s' if count != 1 else ''} trusted, nothing else")

"""Credentials: nothing is read before it is needed, and what is read is never shown."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from pipelines.config import Certificate, Config, load_config
from pipelines.errors import ConfigurationError
from tests.config.cases import VALID

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_SECRET_LINE = "    secret_env: MAILOVER_CLIENT_SECRET\n"
_WITH_CERTIFICATE = VALID.replace(_SECRET_LINE, "    certificate: {path: app.pem}\n")
_WITH_PASSPHRASE = VALID.replace(_SECRET_LINE, "    certificate: {path: app.pem, passphrase_env: PASS}\n")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILOVER_CLIENT_SECRET", raising=False)


def _load(text: str) -> Config:
    Path("mailover.yaml").write_text(text)
    return load_config()


def _certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mailover")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _private(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_configuration_loads_without_its_secret_and_reads_it_when_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credential = _load(VALID).tenant.credential
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", "hunter2\n")
    secret = credential.read()
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == "hunter2"


def test_bad_input_gets_a_clear_error_for_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = _load(VALID).tenant.credential
    with pytest.raises(ConfigurationError) as caught:
        credential.read()
    assert str(caught.value) == (
        "mailover.yaml:5: tenant.credential.secret_env: "
        "the environment variable MAILOVER_CLIENT_SECRET is not set\n"
        "  → set MAILOVER_CLIENT_SECRET where mailover runs (shell, service unit, container secret)"
    )
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", " ")
    with pytest.raises(ConfigurationError, match="MAILOVER_CLIENT_SECRET is empty"):
        credential.read()


@pytest.mark.parametrize("key_first", [True, False])
@pytest.mark.parametrize("passphrase", [None, b"hunter2"])
def test_certificate_and_key_come_from_one_file_in_either_order(
    key_first: bool, passphrase: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [_certificate(_KEY), _private(_KEY, passphrase)]
    Path("app.pem").write_bytes(b"".join(reversed(parts) if key_first else parts))
    monkeypatch.setenv("PASS", "hunter2")
    given = _load(_WITH_PASSPHRASE if passphrase else _WITH_CERTIFICATE).tenant.credential.read()
    assert isinstance(given, Certificate)
    assert x509.load_pem_x509_certificate(given.certificate.encode()).public_key() == _KEY.public_key()
    assert given.private_key.get_secret_value().encode() == _private(_KEY)
    assert "PRIVATE" not in repr(given)


@pytest.mark.parametrize(
    ("content", "configuration", "message"),
    [
        (
            _certificate(_KEY) + _private(_KEY, b"hunter2"),
            _WITH_CERTIFICATE,
            (
                "the private key in {here}/app.pem is encrypted\n"
                "  → name the variable of its passphrase in passphrase_env"
            ),
        ),
        (
            _certificate(_KEY) + _private(_KEY, b"another"),
            _WITH_PASSPHRASE,
            (
                "the passphrase does not open the private key in {here}/app.pem\n"
                "  → check the file and the passphrase"
            ),
        ),
        (
            _certificate(_KEY) + _private(_KEY),
            _WITH_PASSPHRASE,
            "the private key in {here}/app.pem is not encrypted\n  → take passphrase_env out",
        ),
        (
            _certificate(_KEY) + _private(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            _WITH_CERTIFICATE,
            (
                "the private key in {here}/app.pem does not belong to its first certificate\n"
                "  → put the matching pair into it"
            ),
        ),
        (
            _certificate(_KEY) + _private(ec.generate_private_key(ec.SECP256R1())),
            _WITH_CERTIFICATE,
            "{here}/app.pem holds a key that is not RSA\n  → make an RSA key; MSAL signs with RSA only",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + _private(_KEY),
            _WITH_CERTIFICATE,
            (
                "no certificate can be read from {here}/app.pem\n"
                "  → put certificate and private key into one PEM file"
            ),
        ),
        (
            _certificate(_KEY) + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            _WITH_CERTIFICATE,
            "nothing can read the private key in {here}/app.pem\n  → check the file and the passphrase",
        ),
    ],
)
def test_bad_input_gets_a_clear_error_for_a_certificate_that_cannot_be_used(
    content: bytes, configuration: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("app.pem").write_bytes(content)
    monkeypatch.setenv("PASS", "hunter2")
    credential = _load(configuration).tenant.credential
    with pytest.raises(ConfigurationError) as caught:
        credential.read()
    where = "mailover.yaml:5: tenant.credential.certificate.path: "
    assert str(caught.value) == where + message.replace("{here}", str(tmp_path))


def test_bad_input_gets_a_clear_error_for_a_certificate_file_without_its_key() -> None:
    Path("app.pem").write_bytes(_certificate(_KEY))
    with pytest.raises(ConfigurationError) as caught:
        _load(_WITH_CERTIFICATE)
    assert str(caught.value).endswith(
        "app.pem holds no private key\n  → name one PEM file that holds the certificate and its private key"
    )

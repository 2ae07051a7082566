"""A token service on 127.0.0.1 that speaks Entra's v2 protocol over TLS of a private CA."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.https_server import Handler, serving_https

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SECRET = "Qv8Q~the.secret-that~nobody_may.see"
_SIGNATURE_KEY = "a key that only this service knows"


@dataclass
class Answer:
    """One scripted answer."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def refused(description: str, *, error: str = "invalid_client", status: int = 401) -> Answer:
    """An OAuth error as Entra words it: the reason, then ids on lines of their own."""
    number = description.partition(":")[0].removeprefix("AADSTS")
    body = {
        "error": error,
        "error_description": f"{description}\r\nTrace ID: 0000aaaa\r\nCorrelation ID: aaaa0000",
        "error_codes": [int(number)] if number.isdecimal() else [],
    }
    return Answer(status, json.dumps(body))


class Entra:
    """What the service does, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.secret = SECRET
        self.certificate: x509.Certificate | None = None
        self.roles = ["IMAP.AccessAsApp"]
        self.delay = 0.0
        self.on_discovery: list[Answer] = []
        self.on_token: list[Answer] = []
        """Answers to give first, the last one for ever if it is repeated by ``always``."""
        self.always: Answer | None = None
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.issued: list[str] = []
        self.discoveries = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def discover(self, host: str) -> Answer:
        self.discoveries += 1
        if self.on_discovery:
            return self.on_discovery.pop(0)
        root = f"https://{host}/{TENANT}"
        document = {
            "issuer": f"{root}/v2.0",
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "token_endpoint": f"{root}/oauth2/v2.0/token",
        }
        return Answer(200, json.dumps(document))

    def grant(self, form: dict[str, str], host: str) -> Answer:
        self.forms.append(form)
        time.sleep(self.delay)
        if self.on_token:
            return self.on_token.pop(0)
        if self.always:
            return self.always
        if not self._proved(form, host):
            return refused("AADSTS7000215: Invalid client secret provided.")
        token = self.sign(form["scope"].removesuffix("/.default"))
        self.issued.append(token)
        return Answer(200, json.dumps({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))

    def sign(self, audience: str, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "aud": audience,
            "tid": TENANT,
            "appid": CLIENT,
            "roles": self.roles,
            "iat": now,
            "exp": now + 3600,
            "uti": f"{len(self.issued)}",
            **claims,
        }
        return jwt.encode(payload, _SIGNATURE_KEY, algorithm="HS256")

    def _proved(self, form: dict[str, str], host: str) -> bool:
        if self.certificate is None:
            return form.get("client_secret") == self.secret
        assertion = form["client_assertion"]
        claims = jwt.decode(
            assertion,
            self.certificate.public_key(),  # type: ignore[arg-type]
            algorithms=["PS256"],
            audience=f"https://{host}/{TENANT}/oauth2/v2.0/token",
        )
        # MSAL pads it, RFC 7515 does not.
        thumbprint = jwt.utils.base64url_decode(jwt.get_unverified_header(assertion)["x5t#S256"].rstrip("="))
        return bool(claims["iss"] == CLIENT and thumbprint == self.certificate.fingerprint(hashes.SHA256()))


@contextmanager
def serving(entra: Entra, certificate: Path) -> Iterator[Entra]:
    """``entra`` behind TLS on a free port of 127.0.0.1."""

    class Service(Handler):
        def do_GET(self) -> None:  # noqa: N802
            assert self.path == f"/{TENANT}/v2.0/.well-known/openid-configuration", self.path
            self._answer(entra.discover(self.headers["Host"]))

        def do_POST(self) -> None:  # noqa: N802
            assert self.path == f"/{TENANT}/oauth2/v2.0/token", self.path
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            entra.headers.append(dict(self.headers))
            self._answer(
                entra.grant({key: value[0] for key, value in parse_qs(body).items()}, self.headers["Host"])
            )

        def _answer(self, answer: Answer) -> None:
            body = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with serving_https(Service, certificate) as entra.port:
        yield entra


def make_ca(folder: Path) -> tuple[Path, Path]:
    """A private CA's certificate, and a server's certificate with its key, for localhost and entra.test."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Private CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("entra.test")])
    leaf = (
        _builder(_name("localhost"), ca_name, key.public_key())
        .add_extension(names, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file, server_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server_file.write_bytes(leaf.public_bytes(pem) + private)
    return ca_file, server_file


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
    )

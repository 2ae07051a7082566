"""Tokens from a real MSAL against a token service on this computer."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines.auth import Resource, TokenProvider, http
from pipelines.auth.refusals import REFUSALS
from pipelines.config import CertificateCredential, CertificateFile, Endpoints, SecretCredential, Tenant
from pipelines.errors import (
    ConfigurationError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from tests.auth.conftest import WaitlessClock
from tests.auth.entra import CLIENT, SECRET, TENANT, Answer, Entra, make_ca, refused

Provide = Callable[[Tenant], TokenProvider]


def _at(tenant: Tenant, **changes: object) -> Tenant:
    endpoints = Endpoints.model_validate({**tenant.endpoints.model_dump(), **changes})
    return tenant.model_copy(update={"endpoints": endpoints})


def _fails(provider: TokenProvider, kind: type[MailoverError]) -> MailoverError:
    with pytest.raises(kind) as caught:
        provider.token(Resource.OUTLOOK)
    return caught.value


def test_a_client_secret_gets_a_token_for_each_resource(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    provider = provide(tenant)
    tokens = [provider.token(Resource.OUTLOOK), provider.token(Resource.GRAPH)]
    assert tokens == entra.issued
    assert [form["scope"] for form in entra.forms] == [
        "https://outlook.office365.com/.default",
        "https://graph.microsoft.com/.default",
    ]
    assert entra.forms[0]["grant_type"] == "client_credentials"
    assert (entra.forms[0]["client_id"], entra.forms[0]["client_secret"]) == (CLIENT, SECRET)


def test_a_token_is_kept_until_it_is_refused_elsewhere(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    provider = provide(tenant)
    first = provider.token(Resource.OUTLOOK)
    assert provider.token(Resource.OUTLOOK) == first
    assert provider.token(Resource.OUTLOOK, refresh=True) != first
    assert len(entra.forms) == 2
    assert entra.discoveries == 1


def test_threads_that_refresh_together_share_one_new_token(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    provider = provide(tenant)
    provider.token(Resource.OUTLOOK)
    entra.delay = 0.3
    together = threading.Barrier(8)

    def renew(_: int) -> str:
        together.wait()
        return provider.token(Resource.OUTLOOK, refresh=True)

    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(renew, range(8)))
    assert set(tokens) == {entra.issued[1]}
    assert len(entra.forms) == 2


@pytest.mark.parametrize("passphrase", [None, "hunter2"])
def test_a_certificate_signs_the_request(
    passphrase: str | None,
    entra: Entra,
    tenant: Tenant,
    provide: Provide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mailover")])
    now = datetime.now(UTC)
    entra.certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now, now + timedelta(days=1)
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)
    (tmp_path / "app.pem").write_bytes(entra.certificate.public_bytes(pem) + private)
    monkeypatch.setenv("PASSPHRASE", passphrase or "")
    file = CertificateFile(path=tmp_path / "app.pem", passphrase_env="PASSPHRASE" if passphrase else None)
    signing = tenant.model_copy(update={"credential": CertificateCredential(certificate=file)})
    assert provide(signing).token(Resource.OUTLOOK) == entra.issued[0]
    assert "client_secret" not in entra.forms[0]


def test_a_secret_that_is_not_set_is_named_when_a_token_is_wanted(tenant: Tenant, provide: Provide) -> None:
    unset = tenant.model_copy(update={"credential": SecretCredential(secret_env="MAILOVER_UNSET_SECRET")})
    error = _fails(provide(unset), ConfigurationError)
    assert "the environment variable MAILOVER_UNSET_SECRET is not set" in error.message


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_wins_over_the_bundles_of_the_environment(
    variable: str,
    entra: Entra,
    tenant: Tenant,
    provide: Provide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other_ca, _ = make_ca(tmp_path)
    monkeypatch.setenv(variable, str(other_ca))
    assert provide(tenant).token(Resource.OUTLOOK) == entra.issued[0]


def test_without_a_private_ca_the_bundle_of_the_environment_is_used(
    entra: Entra, tenant: Tenant, provide: Provide, ca: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca[0]))
    assert provide(_at(tenant, ca_file=None)).token(Resource.OUTLOOK) == entra.issued[0]


@pytest.mark.parametrize("trusted", ["the system", "another CA"])
def test_a_certificate_of_an_unknown_ca_is_refused_at_once(
    trusted: str, entra: Entra, tenant: Tenant, provide: Provide, tmp_path: Path, clock: WaitlessClock
) -> None:
    ca_file = make_ca(tmp_path)[0] if trusted == "another CA" else None
    error = _fails(provide(_at(tenant, ca_file=ca_file)), UnreachableError)
    assert error.message.startswith(f"{entra.url} cannot be reached: its TLS certificate is not trusted (")
    assert error.remedy == "if a private CA signed it, name the CA's PEM file in tenant.endpoints.ca_file"
    assert clock.waits == []


@contextmanager
def _proxy(target: int) -> Iterator[tuple[int, list[bytes]]]:
    """An HTTP proxy that leads every CONNECT to one port of this computer."""
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        with suppress(OSError):  # the other side may have gone first
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", target)) as server:
            requests.append(client.recv(65536).split(b" HTTP/")[0])
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    with closing(listener):
        yield listener.getsockname()[1], requests
        thread.join()


def test_a_proxy_of_the_environment_is_used(
    entra: Entra, tenant: Tenant, provide: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _proxy(entra.port) as (port, requests):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        provider = provide(_at(tenant, authority="https://entra.test"))
        assert provider.token(Resource.OUTLOOK) == entra.issued[0]
        provider.close()
    assert requests == [b"CONNECT entra.test:443"]


def test_a_password_for_the_host_in_netrc_is_not_sent(
    entra: Entra, tenant: Tenant, provide: Provide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    provide(tenant).token(Resource.OUTLOOK)
    assert "Authorization" not in entra.headers[0]


def test_a_region_of_the_environment_does_not_change_where_the_secret_goes(
    entra: Entra, tenant: Tenant, provide: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")
    assert provide(tenant).token(Resource.OUTLOOK) == entra.issued[0]


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_service_that_recovers_is_waited_for(
    status: int, entra: Entra, tenant: Tenant, provide: Provide, clock: WaitlessClock
) -> None:
    entra.on_discovery = [Answer(status, "<html>busy</html>")]
    entra.on_token = [Answer(status), Answer(status, '{"error": "temporarily_unavailable"}')]
    assert provide(tenant).token(Resource.OUTLOOK) == entra.issued[0]
    assert clock.waits == [1.0, 1.0, 2.0]


def test_a_service_that_does_not_recover_is_given_up_after_four_tries_and_asked_again_later(
    entra: Entra, tenant: Tenant, provide: Provide, clock: WaitlessClock
) -> None:
    entra.always = Answer(503)
    provider = provide(tenant)
    error = _fails(provider, TransientError)
    assert error.message == f"{entra.url} answered HTTP 503"
    assert (clock.waits, len(entra.forms)) == ([1.0, 2.0, 4.0], 4)
    entra.always = None
    clock.sleep(30)
    assert provider.token(Resource.OUTLOOK) == entra.issued[0]


def test_a_throttling_service_is_given_the_time_it_asks_for(
    entra: Entra, tenant: Tenant, provide: Provide, clock: WaitlessClock
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    entra.on_token = [
        Answer(429, "{}", {"Retry-After": "7"}),
        Answer(503, "", {"Retry-After": soon}),
        Answer(429, "{}", {"Retry-After": "sometime"}),
    ]
    assert provide(tenant).token(Resource.OUTLOOK) == entra.issued[0]
    assert clock.waits == [7.0, pytest.approx(19, abs=2), 4.0]


def test_a_throttling_service_that_asks_for_very_long_is_reported(
    entra: Entra, tenant: Tenant, provide: Provide, clock: WaitlessClock
) -> None:
    entra.on_token = [Answer(429, "{}", {"Retry-After": "3600"})]
    error = _fails(provide(tenant), ThrottledError)
    assert isinstance(error, ThrottledError)
    assert (error.retry_after, clock.waits) == (3600.0, [])
    assert error.message == f"{entra.url} asks to wait 3600 s before the next request (HTTP 429)"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>Please log in to the guest network</html>"),
        Answer(403, "Forbidden by policy"),
        Answer(302, "", {"Location": "https://portal.example/"}),
        Answer(200, "[]"),
    ],
)
@pytest.mark.parametrize("at", ["on_discovery", "on_token"])
def test_an_answer_that_is_not_from_a_token_service_is_named(
    answer: Answer, at: str, entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    setattr(entra, at, [answer])
    error = _fails(provide(tenant), UnreachableError)
    assert error.message == (
        f"{entra.url} answered HTTP {answer.status} with something that is not an OAuth answer"
    )


@pytest.mark.parametrize(
    "document",
    ["{}", '{"authorization_endpoint": "https://x/y", "token_endpoint": "http://localhost/token"}'],
)
def test_secrets_stay_secret_from_a_token_endpoint_without_tls(
    document: str, entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    entra.on_discovery = [Answer(200, document)]
    error = _fails(provide(tenant), UnreachableError)
    assert "is not an Entra token service" in error.message
    assert entra.forms == []


def test_a_refused_connection_is_named(tenant: Tenant, provide: Provide) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    error = _fails(provide(_at(tenant, authority=f"https://127.0.0.1:{port}")), UnreachableError)
    assert str(error) == (
        f"https://127.0.0.1:{port} cannot be reached: the connection was refused\n"
        "  → allow outgoing HTTPS to 127.0.0.1, or name a proxy in HTTPS_PROXY"
    )


def test_an_unknown_name_is_named(tenant: Tenant, provide: Provide, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = _fails(provide(_at(tenant, authority="https://login.contoso.example")), UnreachableError)
    assert str(error) == (
        "https://login.contoso.example cannot be reached: the name login.contoso.example is not known\n"
        "  → check the name, tenant.cloud and this computer's DNS"
    )


def test_a_port_that_does_not_speak_tls_is_named(tenant: Tenant, provide: Provide) -> None:
    def greet(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(b"220 smtp ready\r\n" * 10)

    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=greet, args=(plain,))
        thread.start()
        authority = f"https://127.0.0.1:{plain.getsockname()[1]}"
        error = _fails(provide(_at(tenant, authority=authority)), UnreachableError)
        thread.join()
    assert error.message == f"{authority} cannot be reached: TLS failed"


def test_a_silent_service_is_given_up(
    entra: Entra, tenant: Tenant, provide: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_READ_SECONDS", 0.1)
    entra.delay = 0.3
    error = _fails(provide(tenant), UnreachableError)
    assert error.message == f"{entra.url} cannot be reached: no answer within 10 s to connect, 0 s to read"


def test_a_ca_bundle_that_is_not_there_is_named(
    entra: Entra, tenant: Tenant, provide: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    error = _fails(provide(_at(tenant, ca_file=None)), UnreachableError)
    assert str(error) == (
        f"{entra.url} cannot be reached: the file of trusted certificates cannot be read\n"
        "  → check tenant.endpoints.ca_file, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
    )


@pytest.mark.parametrize("number", REFUSALS)
def test_each_refusal_of_entra_comes_with_its_code_and_a_remedy(
    number: int, entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    entra.always = refused(f"AADSTS{number}: Something about application '{CLIENT}'.")
    error = _fails(provide(tenant), SignInError)
    meaning, remedy = REFUSALS[number]
    assert isinstance(error, SignInError)
    assert error.code == f"AADSTS{number}"
    assert str(error) == (
        f"{entra.url}/{TENANT} refused to issue a token: {meaning} (AADSTS{number})\n  → {remedy}"
    )


def test_an_unknown_refusal_is_told_in_entras_first_line(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    entra.always = refused("AADSTS9999999: Something new.", status=400)
    error = _fails(provide(tenant), SignInError)
    assert str(error) == (
        f"{entra.url}/{TENANT} refused to issue a token: AADSTS9999999: Something new.\n"
        "  → look the code up at https://login.microsoftonline.com/error, and try `mailover doctor`"
    )


def test_an_unknown_tenant_is_told_from_the_discovery(entra: Entra, tenant: Tenant, provide: Provide) -> None:
    entra.on_discovery = [refused("AADSTS90002: Tenant 'x' not found.", error="invalid_tenant", status=400)]
    error = _fails(provide(tenant), SignInError)
    assert error.message == f"{entra.url} refused to issue a token: {REFUSALS[90002][0]} (AADSTS90002)"
    assert entra.forms == []


def test_an_answer_without_token_and_without_reason_is_a_refusal(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    entra.always = Answer(200, "{}")
    assert _fails(provide(tenant), SignInError).message.endswith("refused to issue a token: no reason given")


def test_a_refusal_is_repeated_for_half_a_minute_and_then_the_credential_is_read_again(
    entra: Entra, tenant: Tenant, provide: Provide, clock: WaitlessClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILOVER_TEST_SECRET", "the old one")
    provider = provide(tenant)
    for _ in range(3):
        assert "the client secret is wrong" in _fails(provider, SignInError).message
    assert len(entra.forms) == 1
    monkeypatch.setenv("MAILOVER_TEST_SECRET", SECRET)
    clock.sleep(30)
    assert provider.token(Resource.OUTLOOK) == entra.issued[0]


def test_the_refusal_of_one_resource_does_not_stop_the_other(
    entra: Entra, tenant: Tenant, provide: Provide
) -> None:
    provider = provide(tenant)
    entra.on_token = [refused("AADSTS500011: The resource principal was not found.", status=400)]
    _fails(provider, SignInError)
    assert provider.token(Resource.GRAPH) == entra.issued[0]

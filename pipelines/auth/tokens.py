"""Access tokens for the application, from MSAL."""

import copy
import threading
from typing import TYPE_CHECKING

from pydantic import SecretStr

from pipelines.auth.endpoints import ResolvedEndpoints, Resource, resolve
from pipelines.auth.refusals import refusal
from pipelines.clock import Clock, SystemClock
from pipelines.config import Tenant
from pipelines.errors import ConfigurationError, MailoverError, UnreachableError

if TYPE_CHECKING:
    from msal.application import ConfidentialClientApplication

    from pipelines.auth.http import TokenHttpClient

_FAILURE_HOLDS = 30.0
"""Seconds in which a failure is repeated without asking again: thousands of mailboxes share one sign-in."""


class TokenProvider:
    """Tokens of one tenant; safe to share between threads."""

    def __init__(self, tenant: Tenant, clock: Clock | None = None) -> None:
        """Nothing is read or sent before the first token is asked for."""
        self.endpoints = resolve(tenant)
        self._name = f"{tenant.client_id} in {tenant.id}"
        self._tokens = {
            resource: _ResourceTokens(tenant, self.endpoints, resource, clock or SystemClock())
            for resource in Resource
        }

    def token(self, resource: Resource, *, refresh: bool = False) -> str:
        """A token for ``resource`` with at least five minutes to live.

        ``refresh`` asks for a new one although the old one has not expired: the server
        refused it. Threads that ask at the same time share one. Raises
        ``ConfigurationError`` where the credential is not there, ``SignInError`` where it is
        refused, ``UnreachableError`` or ``TransientError`` where the token service cannot answer.
        """
        return self._tokens[resource].token(refresh=refresh)

    def close(self) -> None:
        """Give back the connections."""
        for tokens in self._tokens.values():
            tokens.close()

    def __repr__(self) -> str:
        return f"TokenProvider({self._name})"


class _ResourceTokens:
    """One MSAL application with its own cache."""

    def __init__(
        self, tenant: Tenant, endpoints: ResolvedEndpoints, resource: Resource, clock: Clock
    ) -> None:
        self._tenant, self._endpoints = tenant, endpoints
        self._scope = endpoints.scopes[resource]
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshed = 0
        self._application: ConfidentialClientApplication | None = None
        self._http: TokenHttpClient | None = None
        self._hidden: tuple[SecretStr, ...] = ()
        self._failed: tuple[float, MailoverError] | None = None

    def token(self, *, refresh: bool) -> str:
        before = self._refreshed
        with self._lock:
            if self._failed and self._clock.monotonic() - self._failed[0] < _FAILURE_HOLDS:
                raise copy.copy(self._failed[1])
            if not refresh or before != self._refreshed:
                return self._acquire()
            if self._application:
                self._application.remove_tokens_for_client()  # type: ignore[no-untyped-call]
            token = self._acquire()
            # Counted when it is there: whoever asked while it was on its way shares it.
            self._refreshed += 1
            return token

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _acquire(self) -> str:
        outcome = self._ask()
        if isinstance(outcome, str):
            self._failed = None
            return outcome
        # A new application reads the credential again: it may have been renewed by then.
        self._drop()
        self._failed = (self._clock.monotonic(), outcome)
        # Raised here, a traceback holds none of MSAL's frames and answers, which hold secrets.
        raise copy.copy(outcome)

    def _ask(self) -> str | MailoverError:
        try:
            self._application = self._application or self._build()
            answer = self._application.acquire_token_for_client([self._scope])  # type: ignore[no-untyped-call]
        except ConfigurationError:
            raise
        except MailoverError as error:
            return error
        except (ValueError, KeyError, TypeError):
            return UnreachableError(
                f"{self._endpoints.authority} is not an Entra token service: its answers do not fit",
                remedy="check tenant.endpoints.authority",
            )
        token = answer.get("access_token")
        return (
            token if isinstance(token, str) else refusal(answer, self._endpoints.authority, hide=self._hidden)
        )

    def _credential(self) -> str | dict[str, str]:
        given = self._tenant.credential.read()
        if isinstance(given, SecretStr):
            self._hidden = (given,)
            return given.get_secret_value()
        self._hidden = (given.private_key,)
        return {"private_key": given.private_key.get_secret_value(), "public_certificate": given.certificate}

    def _build(self) -> "ConfidentialClientApplication":
        # MSAL and requests are for those who sign in: a look at the index does not.
        from msal.application import ConfidentialClientApplication

        from pipelines.auth.http import TokenHttpClient

        self._http = TokenHttpClient(self._endpoints.ca_file, self._clock)
        return ConfidentialClientApplication(  # type: ignore[no-untyped-call]
            self._tenant.client_id,
            client_credential=self._credential(),
            authority=self._endpoints.authority,
            http_client=self._http,
            app_name="mailover",
            # The configuration alone says where secrets go: no look-up of the host at
            # login.microsoftonline.com, no region from the environment.
            instance_discovery=False,
            azure_region=False,
        )

    def _drop(self) -> None:
        if self._http:
            self._http.close()
        self._application = self._http = None

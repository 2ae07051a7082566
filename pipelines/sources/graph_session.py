"""Asking Graph about one mailbox: tokens, pace, retries, and the links that may be followed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pipelines.auth import Resource, TokenProvider, check_claims, resolve
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import FolderGoneError, MailoverError, TransientError, UnreachableError
from pipelines.sources.base import Folder
from pipelines.sources.graph_faults import AnswerRefusedError, Fault, Kind
from pipelines.sources.graph_limits import pace_of, tenant_pace_of
from pipelines.sources.graph_requests import GLANCE, JSON, PREFER, TEXT, Answer, Request
from pipelines.sources.graph_retries import Check, Outcome, Run, judge

if TYPE_CHECKING:
    from pipelines.sources.graph_urls import Urls
    from pipelines.sources.graph_wire import Wire

Key = TypeVar("Key")


class GraphSession:
    """Nothing is sent before the first question. Only GET, and $batch of GETs: nothing can be changed."""

    def __init__(
        self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock, properties: Sequence[str]
    ) -> None:
        """``properties``: those of a message that a listing brings."""
        self.mailbox, self.clock = mailbox, clock
        self._tenant, self._tokens = tenant, tokens
        self._endpoints = resolve(tenant)
        self._pace = pace_of(tokens, mailbox, clock)
        rate = tenant.requests_per_second
        self._tenant_pace = tenant_pace_of(tokens, rate, clock) if rate else None
        self._properties = properties
        self._opened: tuple[Wire, Urls] | None = None
        self._token = self._dead_token = ""

    @property
    def urls(self) -> "Urls":
        """What can be asked; nothing is sent. Raises ``ConfigurationError`` for a CA file that is none."""
        return self._open()[1]

    def get(self, url: str, *, accept: str = JSON, check: Check | None = None) -> Answer:
        """A successful answer; waits and asks again as the server's answers require.

        ``url``: one of ``urls``, or a link that Graph gave, which is used as it is. Raises
        ``AnswerRefusedError`` where Graph refuses this request, ``AccessError`` where it refuses the
        application or cannot be reached, ``TransientError`` where no further try helped.
        """
        outcomes = list(self.ask_all([(url, None)], accept=accept, check=check))
        outcome = outcomes[0][1]
        if isinstance(outcome, MailoverError):
            raise outcome
        return outcome

    def page(self, url: str) -> dict[str, Any]:
        """The JSON object at ``url``. Raises as ``get`` does."""
        return self.read(self.get(url, check=self.whole))

    def number(self, url: str) -> int:
        """The number at ``url``, as $count answers it. Raises as ``get`` does."""
        try:
            return int(self.get(url, accept=TEXT).content.decode("utf-8-sig"))
        except ValueError:
            raise self._not_graph() from None

    def pages(self, url: str) -> Iterator[list[dict[str, Any]]]:
        """What is listed at ``url`` and at the links that go on from it. Raises as ``get`` does."""
        following: str | None = url
        while following:
            page = self.page(following)
            yield self.listed(page)
            following = self.link(page, "next", following)

    def ask_all(
        self, wanted: Iterable[tuple[str, Key]], *, accept: str = JSON, check: Check | None = None
    ) -> Iterator[tuple[Key, Outcome]]:
        """An outcome for each URL and its key, in the order in which they come; four requests at a time.

        At most 16 answers are held, and no request starts while 8 MiB of them wait to be taken.
        """
        wire, _urls = self._open()
        requests = (Request(self._absolute(url), accept, key) for url, key in wanted)
        with closing(wire.exchange()) as exchange:
            for request, outcome in Run(self, exchange, requests, check).outcomes():
                yield request.key, outcome

    def batch(self, urls: Sequence[str]) -> dict[str, Outcome]:
        """An outcome for each of at most 20 ``urls``, asked together in one request (JSON batching)."""
        outcomes: dict[str, Outcome] = {}
        waiting = {str(number): Request(url) for number, url in enumerate(urls)}
        while waiting:
            answers = self._post(waiting, PREFER)
            pauses = [0.0]
            for number, request in list(waiting.items()):
                request.token = self._token
                outcome = judge(self, request, answers.get(number, Answer(503, {}, b"")))
                if isinstance(outcome, float):
                    pauses.append(outcome)
                else:
                    outcomes[request.url] = outcome
                    del waiting[number]
            if waiting and max(pauses):
                self.clock.sleep(max(pauses))
        return outcomes

    def glance(self, links: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Short pages at ``links`` that Graph gave, at most 20 asked together, once; what fails is left out.

        Raises as ``get`` does where the $batch itself fails.
        """
        root = self._endpoints.graph
        own = [link for link in links if link.startswith(f"{root}/")]
        parts = {str(number): Request(link.removeprefix(root)) for number, link in enumerate(own)}
        answers = self._post(parts, GLANCE) if parts else {}
        pages: dict[str, dict[str, Any]] = {}
        for number, link in enumerate(own):
            request = parts[str(number)]
            request.token = self._token
            # Judged, so that a mailbox that is told to wait does; nothing is asked again here.
            outcome = judge(self, request, answers.get(str(number), Answer(503, {}, b"")), self.whole)
            if isinstance(outcome, Answer):
                pages[link] = self.read(outcome)
        return pages

    def read(self, answer: Answer) -> dict[str, Any]:
        """The JSON object in ``answer``. Raises ``UnreachableError`` where there is none."""
        try:
            # Bodies can hold raw control characters, which strict parsers refuse.
            told = json.loads(answer.content, strict=False)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._not_graph()
        return told

    def whole(self, answer: Answer) -> Fault | None:
        """The fault that JSON is which does not end as an object does."""
        whole = answer.content.rstrip().endswith(b"}")
        return None if whole else Fault(Kind.CUT_SHORT, self._not_graph())

    def listed(self, page: dict[str, Any]) -> list[dict[str, Any]]:
        """The objects that a page lists."""
        value = page.get("value")
        return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

    def link(self, page: dict[str, Any], which: str, asked: str) -> str | None:
        """The page's ``next`` or ``delta`` link. Raises ``TransientError`` for one back to ``asked``."""
        link = page.get(f"@odata.{which}Link")
        if which == "next" and link == asked:
            raise TransientError(f"{self.mailbox}: Graph's page names itself as the next one")
        return link if isinstance(link, str) else None

    @contextmanager
    def inside(self, folder: Folder) -> Iterator[None]:
        """What Graph does not find in the block is ``folder``: raises ``FolderGoneError``."""
        try:
            yield
        except AnswerRefusedError as refused:
            if refused.kind is not Kind.NOT_FOUND:
                raise
        else:
            return
        raise FolderGoneError(f"{self.mailbox}: the folder {folder.path!r} is not there any more")

    def is_own(self, link: str) -> bool:
        """Whether ``link`` leads to where the tenant's Graph is: same scheme, host and port."""
        return _origin(link) == _origin(self._endpoints.graph)

    def close(self) -> None:
        """Give back the connections."""
        if self._opened:
            self._opened[0].close()
            self._opened = None

    def admit(self, requests: Iterable[Request]) -> None:
        """Wait until ``requests`` may be sent, and give each the token to send."""
        asked = list(requests)
        weight = sum(request.weight for request in asked)
        self._pace.admit(weight)
        if self._tenant_pace:
            self._tenant_pace.admit(weight)
        token = self._tokens.token(Resource.GRAPH)
        if token == self._dead_token:
            token = self._tokens.token(Resource.GRAPH, refresh=True)
        if token != self._token:
            # Roles are not looked for: with RBAC for Applications a token need not name any.
            check_claims(token, Resource.GRAPH, self._tenant, clock=self.clock)
            self._token = token
        for request in asked:
            request.token = token

    def hold(self, seconds: float) -> None:
        """Send nothing about this mailbox for so long."""
        self._pace.hold(seconds)

    def refused(self, token: str) -> None:
        """Graph does not accept ``token``: the next request gets another one."""
        self._dead_token = token

    def _post(self, waiting: dict[str, Request], prefer: str) -> dict[str, Answer]:
        parts = [
            {"id": number, "method": "GET", "url": request.url, "headers": {"Prefer": prefer}}
            for number, request in waiting.items()
        ]
        body = json.dumps({"requests": parts}).encode()
        wire, _urls = self._open()
        whole = Request(self._absolute("/$batch"), body=body, weight=len(parts))
        with closing(wire.exchange()) as exchange:
            ((_request, outcome),) = Run(self, exchange, [whole], self.whole).outcomes()
        if isinstance(outcome, MailoverError):
            raise outcome
        responses = self.read(outcome).get("responses")
        return dict(map(_part, responses if isinstance(responses, list) else []))

    def _not_graph(self) -> UnreachableError:
        return UnreachableError(
            f"{self.mailbox}: what answers at {self._endpoints.graph} is not Graph: its answers do not fit",
            remedy="check tenant.endpoints.graph, and whether a proxy or login page intervenes",
        )

    def _open(self) -> "tuple[Wire, Urls]":
        if self._opened is None:
            # The SDK takes a third of a second to import: only for those who read over Graph.
            from pipelines.sources.graph_urls import Urls
            from pipelines.sources.graph_wire import Wire

            wire = Wire(self._endpoints.graph, self._endpoints.ca_file, self.mailbox)
            self._opened = wire, Urls(wire.sdk, self.mailbox, self._properties)
        return self._opened

    def _absolute(self, url: str) -> str:
        """The one place where a URL is let through to be sent with a token."""
        if url.startswith("/"):
            return self._endpoints.graph + url
        if not self.is_own(url):
            raise UnreachableError(
                f"{self.mailbox}: Graph gave a link to another place than {self._endpoints.graph}; "
                "it is not followed, and no token is sent there",
                remedy="check tenant.endpoints.graph: a proxy has to rewrite links to its own address",
            )
        return url


def _origin(url: str) -> tuple[str, str]:
    """Scheme, host and port; a user name before the host makes it another one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme.lower(), parts.netloc.lower().removesuffix(":443")


def _part(response: Any) -> tuple[str, Answer]:
    """One response of a batch, as if it had come alone."""
    told = response if isinstance(response, dict) else {}
    status, headers = told.get("status"), told.get("headers")
    return str(told.get("id")), Answer(
        status if isinstance(status, int) else 503,
        {name.lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {},
        json.dumps(told.get("body")).encode(),
    )

"""How Graph is asked: with which token and trust, when again, and which links are followed."""

import gc
import threading
import time
import traceback

import pytest

from pipelines.config import Tenant
from pipelines.errors import (
    ConnectionLostError,
    FolderGoneError,
    MailboxRefusedError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from pipelines.sources import Entry, Fetched, Folder, Page, Role
from pipelines.sources.graph import GraphSource
from tests.auth.entra import Entra
from tests.sources.conftest import (
    MAILBOX,
    GraphOpener,
    GraphTokens,
    WaitlessClock,
)
from tests.sources.scripted_graph import INBOX_ID, Reply, ScriptedGraph, error, mail

INBOX = Folder("Inbox", Role.INBOX, INBOX_ID)
COUNT, VALUE = r"GET /mailFolders/.*/\$count", r"\$value"


def close_to(waits: list[float], *expected: float) -> bool:
    """Whether these were the waits, each spread a little."""
    return len(waits) == len(expected) and all(
        0.79 * each <= wait <= 1.21 * each for wait, each in zip(waits, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("named", "waits"), [("10", [10]), ("2.128", [2.128]), ("299", [299]), ("900", [900])]
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_graph_asks_for_is_kept_to_the_second(
    graph: ScriptedGraph,
    graph_source: GraphSource,
    clock: WaitlessClock,
    status: int,
    named: str,
    waits: list[float],
) -> None:
    graph.answer(COUNT, error(status, "ApplicationThrottled", Retry_After=named))
    assert graph_source.count(INBOX) == 0
    assert [round(each, 3) for each in clock.waits] == waits


@pytest.mark.parametrize("named", ["0", None, "soon"])
def test_without_a_wait_throttling_is_answered_with_longer_and_longer_ones(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock, named: str | None
) -> None:
    headers = {"Retry_After": named} if named else {}
    graph.answer(COUNT, error(429, "TooManyRequests", **headers), times=3)
    assert graph_source.count(INBOX) == 0
    assert close_to(clock.waits, 5, 10, 20)


def test_a_wait_of_hours_is_left_to_the_caller(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock
) -> None:
    graph.answer(COUNT, error(429, "ApplicationThrottled", Retry_After="7200"))
    with pytest.raises(ThrottledError, match=MAILBOX) as caught:
        graph_source.count(INBOX)
    assert (caught.value.retry_after, clock.waits) == (7200, [])


def test_throttling_that_does_not_end_is_reported(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock
) -> None:
    graph.answer(COUNT, error(429, "ApplicationThrottled", Retry_After="60"), times=99)
    with pytest.raises(ThrottledError) as caught:
        graph_source.count(INBOX)
    assert caught.value.retry_after == 60
    assert [round(each) for each in clock.waits] == [60] * 8


@pytest.mark.parametrize(
    "reply",
    [
        error(500, "ErrorInternalServerTransientError"),
        error(503, "ErrorMailboxMoveInProgress"),
        error(409, "ErrorIrresolvableConflict"),
        error(423, "resourceLocked"),
        Reply(502, b"<html>Bad gateway</html>"),
        Reply(504),
    ],
    ids=lambda reply: str(reply.status),
)
def test_a_passing_fault_is_asked_again_after_a_while(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock, reply: Reply
) -> None:
    graph.answer(COUNT, reply, times=4)
    assert graph_source.count(INBOX) == 0
    assert close_to(clock.waits, 1, 2, 4, 8)


def test_a_fault_that_stays_is_a_passing_one_in_the_report(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer(COUNT, Reply(503), times=99)
    with pytest.raises(TransientError, match="HTTP 503"):
        graph_source.count(INBOX)
    assert len(graph.urls(COUNT)) == 9


def test_a_404_without_a_reason_is_asked_again(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock
) -> None:
    graph.answer(COUNT, Reply(404), times=2)
    assert graph_source.count(INBOX) == 0
    graph.answer(COUNT, Reply(404), times=99)
    with pytest.raises(TransientError, match="HTTP 404"):
        graph_source.count(INBOX)
    assert close_to(clock.waits, 1, 4, 1, 4)


@pytest.mark.parametrize("cut", [0, 1])
def test_a_connection_that_breaks_is_replaced(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock, cut: int
) -> None:
    graph.answer(COUNT, Reply(body=b"17", cut=cut), times=3)
    assert graph_source.count(INBOX) == 0
    assert close_to([each for each in clock.waits if each], 1, 2)


def test_connections_that_always_break_are_reported(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.answer(COUNT, Reply(body=b"17", cut=1), times=99)
    with pytest.raises(ConnectionLostError, match=MAILBOX):
        graph_source.count(INBOX)


def test_a_refused_token_is_renewed(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.answer(COUNT, error(401, "InvalidAuthenticationToken"))
    assert graph_source.count(INBOX) == 0
    used = [each.headers["authorization"] for each in graph.asked]
    assert used == ["Bearer graph-token-1", "Bearer graph-token-2"]


def test_requests_with_an_old_token_share_one_new_one(
    graph: ScriptedGraph, graph_source: GraphSource, graph_tokens: GraphTokens
) -> None:
    graph.page = 99
    ids = graph.add(*(mail(number) for number in range(8)))
    graph.answer(r"\$value", error(401, "InvalidAuthenticationToken"), times=4)
    assert len(list(graph_source.fetch(INBOX, [Entry(each) for each in ids]))) == 8
    assert graph_tokens.number == 2


def test_a_token_that_is_never_accepted_is_a_failed_sign_in(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer(COUNT, error(401, "InvalidAuthenticationToken"), times=99)
    with pytest.raises(SignInError, match=r"tenant\.cloud") as caught:
        graph_source.count(INBOX)
    assert caught.value.code == "InvalidAuthenticationToken"
    assert len(graph.asked) == 3


def test_a_token_without_roles_is_tried_for_rbac_may_grant_what_it_does_not_name(
    graph: ScriptedGraph, graph_source: GraphSource, graph_tokens: GraphTokens, graph_tenant: Tenant
) -> None:
    entra = Entra()
    entra.roles = []
    graph_tokens.given = entra.sign("https://graph.microsoft.com")
    assert graph_source.count(INBOX) == 0


def test_a_token_for_exchange_is_not_sent_to_graph(
    graph: ScriptedGraph, graph_source: GraphSource, graph_tokens: GraphTokens
) -> None:
    graph_tokens.given = Entra().sign("https://outlook.office365.com")
    with pytest.raises(SignInError, match=r"outlook\.office365\.com"):
        graph_source.count(INBOX)
    assert graph.asked == []


@pytest.mark.parametrize("code", ["ErrorAccessDenied", "Authorization_RequestDenied", "extensionError"])
def test_a_mailbox_out_of_scope_is_refused_at_once(
    graph: ScriptedGraph, graph_source: GraphSource, code: str
) -> None:
    graph.answer("POST", error(403, code), times=99)
    with pytest.raises(MailboxRefusedError) as caught:
        graph_source.folders()
    assert MAILBOX in str(caught.value)
    assert "Mail.Read" in str(caught.value)
    assert len(graph.asked) == 1


@pytest.mark.parametrize(
    "code", ["MailboxNotEnabledForRESTAPI", "ErrorNonExistentMailbox", "ErrorInvalidUser"]
)
def test_a_mailbox_that_graph_does_not_reach_is_refused(
    graph: ScriptedGraph, graph_source: GraphSource, code: str
) -> None:
    graph.answer("mailFolders/inbox", error(404, code), times=99)
    with pytest.raises(MailboxRefusedError, match=MAILBOX):
        graph_source.folders()


@pytest.mark.parametrize("code", ["ErrorItemNotFound", "ErrorFolderNotFound"])
def test_a_folder_that_is_not_found_is_gone(
    graph: ScriptedGraph, graph_source: GraphSource, code: str
) -> None:
    graph.answer("GET", error(404, code), times=99)
    for ask in (
        graph_source.count,
        graph_source.native_ids,
        lambda each: list(graph_source.changes(each, None)),
    ):
        with pytest.raises(FolderGoneError, match="Inbox"):
            ask(INBOX)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/users/x/messages?$skiptoken=1",
        "http://localhost:{port}/v1.0/users/x?$skiptoken=1",
        "https://localhost/v1.0/users/x?$skiptoken=1",
        "https://localhost:{port}@evil.example/v1.0/x",
        "https://evil.example\\@localhost:{port}/v1.0/x",
        "https://localhost:{port}.evil.example/v1.0/x",
        "https://[localhost/x",
    ],
)
def test_secrets_stay_secret_when_a_link_leads_elsewhere(
    graph: ScriptedGraph, graph_source: GraphSource, link: str
) -> None:
    told = link.replace("{port}", str(graph.port))
    graph.answer(r"delta\(\)", Reply(body={"value": [], "@odata.nextLink": told}))
    with pytest.raises(UnreachableError, match="no token is sent there") as caught:
        list(graph_source.changes(INBOX, None))
    assert "skiptoken" not in str(caught.value)
    assert len(graph.asked) == 1


def test_links_are_used_as_they_are(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    rest = "/users/a@b.c/mailFolders('AA-_%3D=')/messages/delta?$skiptoken=a%2bB'c+d&%24top=5&x=(1)*~!"
    graph.answer(r"delta\(\)", Reply(body={"value": [], "@odata.nextLink": graph.root + rest}))
    graph.answer("skiptoken", Reply(body={"value": [], "@odata.deltaLink": graph.root + "/end"}))
    assert len(list(graph_source.changes(INBOX, None))) == 2
    assert graph.asked[1].raw == f"/v1.0{rest}"


def test_a_redirection_is_not_followed(graph: ScriptedGraph, graph_source: GraphSource) -> None:
    graph.answer(COUNT, Reply(308, headers={"Location": f"{graph.root}/elsewhere"}), times=9)
    with pytest.raises(MailoverError, match="redirection"):
        graph_source.count(INBOX)
    assert len(graph.asked) == 1


@pytest.mark.parametrize(
    ("reply", "asked"),
    [(Reply(body=b"<html>Sign in to the hotel's network</html>"), 3), (Reply(body=b"[]"), 3)],
)
def test_what_is_not_graph_is_explained(
    graph: ScriptedGraph, graph_source: GraphSource, reply: Reply, asked: int
) -> None:
    graph.answer(r"delta|count", reply, times=99)
    with pytest.raises(UnreachableError, match=r"tenant\.endpoints\.graph"):
        list(graph_source.changes(INBOX, None))
    assert len(graph.asked) == asked
    with pytest.raises(UnreachableError, match="not Graph"):
        graph_source.count(INBOX)


def test_json_that_breaks_off_is_asked_again_and_control_characters_are_read(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.add(mail(1))
    page = Reply(
        body={"value": [graph.messages[INBOX_ID]["AAkA0001="] | {"mime": None, "bodyPreview": "a b"}]}
    )
    whole = (
        page.content().replace(b"a b", b"a\x0b\x1fb")[:-1]
        + b', "@odata.deltaLink": "%s/x"}' % graph.root.encode()
    )
    graph.answer(r"delta\(\)", Reply(body=whole, ends=80), Reply(body=whole))
    (found,) = graph_source.changes(INBOX, None)
    assert isinstance(found, Page)
    assert len(found.entries) == 1
    assert len(graph.asked) == 2


def test_no_more_than_four_are_asked_at_once_whatever_the_number_of_sources(
    graph: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    ids = graph.add(*(mail(number) for number in range(12)))
    graph.pause = 0.03
    sources = [open_graph(graph_tenant) for _ in range(3)]
    found: list[int] = []

    def read(source: GraphSource) -> None:
        outcomes = list(source.fetch(INBOX, [Entry(each) for each in ids]))
        found.append(sum(isinstance(each, Fetched) for each in outcomes))

    threads = [threading.Thread(target=read, args=(source,)) for source in sources]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [12, 12, 12]
    assert graph.most_at_once == 4


@pytest.mark.parametrize(("size", "most"), [(100, 16), (3_000_000, 8)])
def test_bounded_memory_while_nobody_takes_what_came(
    graph: ScriptedGraph, graph_source: GraphSource, size: int, most: int
) -> None:
    native_ids = graph.add(*[mail(1, "confidential" * (size // 12))] * 20)
    outcomes = graph_source.fetch(INBOX, [Entry(each) for each in native_ids])
    next(outcomes)
    asked = [0, len(graph.urls(VALUE))]
    while asked[-1] > asked[-2]:
        time.sleep(0.2)
        asked.append(len(graph.urls(VALUE)))
    assert 4 <= asked[-1] <= most
    assert sum(1 for _ in outcomes) == 19


def test_nothing_is_left_when_a_source_is_closed_in_the_middle(
    graph: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    before = set(threading.enumerate())
    ids = graph.add(*(mail(number) for number in range(20)))
    source = open_graph(graph_tenant)
    outcomes = source.fetch(INBOX, [Entry(each) for each in ids])
    next(outcomes)
    source.close()
    source.close()
    del outcomes
    gc.collect()
    assert not [each for each in set(threading.enumerate()) - before if each.name == "graph"]
    assert source.count(INBOX) == 20, "a closed source opens again when it is asked"


def test_the_loop_is_one_and_ends_with_its_last_source(
    graph: ScriptedGraph, open_graph: GraphOpener, graph_tenant: Tenant
) -> None:
    one, other = open_graph(graph_tenant), open_graph(graph_tenant)
    one.count(INBOX)
    other.count(INBOX)
    assert [each.name for each in threading.enumerate()].count("graph") == 1
    one.close()
    assert other.count(INBOX) == 0
    other.close()
    assert [each.name for each in threading.enumerate()].count("graph") == 0


def told_of(caught: MailoverError) -> str:
    """All that a logger or crash reporter could learn from it."""
    assert caught.__traceback__
    frames = traceback.TracebackException(
        type(caught), caught, caught.__traceback__.tb_next, capture_locals=False
    )
    return "".join([*frames.format(chain=True), str(caught), repr(caught.__dict__), repr(caught.__context__)])


@pytest.mark.parametrize(
    "reply",
    [
        error(401, "InvalidAuthenticationToken"),
        error(403, "ErrorAccessDenied"),
        error(410, "SyncStateNotFound"),
        Reply(503),
        Reply(body=b"{", cut=0),
        Reply(body=b"Bearer graph-token-1 is no JSON"),
        Reply(302, headers={"Location": "https://evil.example/?$skiptoken=secret-link"}),
    ],
)
def test_secrets_stay_secret_whatever_goes_wrong(
    graph: ScriptedGraph, graph_source: GraphSource, reply: Reply, all_logs: pytest.LogCaptureFixture
) -> None:
    link = f"{graph.root}/users/{MAILBOX}/mailFolders('x')/messages/delta?$deltatoken=secret-link"
    graph.answer("GET", reply, times=99)
    with pytest.raises(MailoverError) as caught:
        list(graph_source.changes(INBOX, f'{{"delta": "{link}"}}'))
    for kept in ("graph-token", "secret-link", "confidential"):
        assert kept not in told_of(caught.value)
        assert kept not in all_logs.text
    assert "httpcore" in all_logs.text, "nothing was logged, so nothing was proved"


def test_a_batch_is_asked_again_for_the_parts_that_were_throttled(
    graph: ScriptedGraph, graph_source: GraphSource, clock: WaitlessClock
) -> None:
    graph.well_known = {"inbox": INBOX_ID, "sentitems": "AAMkSent="}
    graph.children[""].append({"id": "AAMkSent=", "displayName": "Gesendet"})
    graph.answer("mailFolders/sentitems", error(429, "ApplicationThrottled", Retry_After="4"))
    graph.answer("mailFolders/archive", error(503, "ErrorServerBusy"))
    assert {each.role for each in graph_source.folders()} == {Role.INBOX, Role.SENT}
    assert len(graph.urls(r"POST /\$batch")) == 2
    assert max(clock.waits) <= 4.01
    assert sum(clock.waits) >= 4


def test_a_part_of_a_batch_that_stays_throttled_is_reported(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer("mailFolders/sentitems", error(429, "ApplicationThrottled", Retry_After="4"), times=99)
    with pytest.raises(ThrottledError):
        graph_source.folders()


def test_a_batch_that_leaves_parts_out_is_asked_again(
    graph: ScriptedGraph, graph_source: GraphSource
) -> None:
    graph.answer(r"POST", Reply(body={"responses": [{"id": "99"}, "nonsense", {"id": 0, "status": "x"}]}))
    assert graph_source.folders()

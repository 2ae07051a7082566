"""Against the sandbox's own tenant: tokens from its token service, mail through its Graph door."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow.dataset as pads
import pytest

from pipelines.auth import TokenProvider
from pipelines.config import Config, load_config
from pipelines.errors import FolderGoneError, MailboxRefusedError
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.mime import normalise
from pipelines.sources import (
    Fetched,
    FetchFailed,
    Folder,
    Page,
    ProtocolName,
    Reset,
    Role,
    Source,
    open_source,
)
from tests.sandbox_fixture import RunningSandbox, Starter, running_sandbox
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import inbox_of, walk

KIM = "kim.akers@contoso.com"
GRAPH = "https://graph.microsoft.com"
EXPIRED = {"kind": "error", "status": 410, "code": "SyncStateNotFound", "door": "graph", "command": "delta"}
Opened = Callable[..., Source]


def on_graph(sandbox: RunningSandbox, more: str = "") -> Config:
    """The tenant's configuration with every mailbox on Graph from the start."""
    text = re.sub(r"\n +legacy: \w+", more, sandbox.config_path.read_text())
    path = sandbox.config_path.with_name("graph.yaml")
    path.write_text(text)
    return load_config(path)


@pytest.fixture(scope="module")
def tenant_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One tenant for all tests that leave its mail as it is."""
    directory = tmp_path_factory.mktemp("tenant") / "sandbox"
    with running_sandbox(directory, "--messages", "120") as sandbox, pytest.MonkeyPatch.context() as patched:
        patched.setenv("MAILOVER_CLIENT_SECRET", sandbox.secret)
        yield sandbox


@pytest.fixture
def shared(tenant_of_all: RunningSandbox) -> Iterator[RunningSandbox]:
    """The same tenant, behaving well again after the test."""
    control = tenant_of_all.control
    usual = control.do("graph")
    yield tenant_of_all
    control.do("clear_faults")
    control.do("graph", **usual)
    control.do("tokens", roles={GRAPH: ["Mail.Read"]})
    control.do("grant", address=KIM, granted=True)


@pytest.fixture
def open_kim(clock: WaitlessClock) -> Iterator[Opened]:
    """Open Kim's mailbox; after the test the tenants must have seen no attempt to change anything."""
    opened: list[RunningSandbox] = []
    with ExitStack() as stack:

        def open_it(sandbox: RunningSandbox, more: str = "") -> Source:
            opened.append(sandbox)
            config = on_graph(sandbox, more)
            tokens = TokenProvider(config.tenant)
            stack.callback(tokens.close)
            source = open_source(config, config.mailbox(KIM), ProtocolName.GRAPH, tokens, clock)
            stack.callback(source.close)
            return source

        yield open_it
    assert all(each.control.do("attempts") == [] for each in opened)


def of_kim(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    return [each for each in sandbox.control.messages() if each["mailbox"] == KIM]


def test_read_only_finds_every_message_of_every_mail_folder(shared: RunningSandbox, open_kim: Opened) -> None:
    source = open_kim(shared)
    found: dict[str, str] = {}
    for folder in source.folders():
        if folder.skipped:
            continue
        entries, _ = walk(source, folder)
        unique = {each.native_id: each for each in entries}
        outcomes = list(source.fetch(folder, list(unique.values())))
        assert unique.keys() == source.native_ids(folder)
        assert source.count(folder) == len(outcomes) == len(unique)
        for each in outcomes:
            assert isinstance(each, Fetched)
            assert each.entry.identity
            assert each.entry.identity.header_key == normalise(each.mime).header_key
        found |= dict.fromkeys(unique, folder.path)
    assert found == {each["immutable_id"]: each["folder"] for each in of_kim(shared)}


def test_hidden_folders_are_read_when_asked_for(shared: RunningSandbox, open_kim: Opened) -> None:
    usual = {each.path: each.skipped for each in open_kim(shared).folders()}
    source = open_kim(shared, "\n    folders: {hidden: true}")
    asked_for = {each.path: each for each in source.folders()}
    (hidden,) = (path for path, skipped in usual.items() if skipped == "hidden")
    assert asked_for[hidden].skipped is None
    entries, _ = walk(source, asked_for[hidden])
    assert entries
    assert all(isinstance(each, Fetched) for each in source.fetch(asked_for[hidden], entries))
    assert "search folder" in usual.values()


def test_nothing_lost_whatever_goes_wrong_once(
    shared: RunningSandbox, open_kim: Opened, clock: WaitlessClock
) -> None:
    source = open_kim(shared)
    folder = inbox_of(source)
    entries = walk(source, folder)[0][:5]
    faults: list[dict[str, Any]] = [
        {"kind": "expire"},
        {"kind": "drop", "bytes": 300},
        {"kind": "drop"},
        {"kind": "truncate", "bytes": 300},
        {"kind": "empty"},
        {"kind": "throttle", "seconds": 90},
        {"kind": "throttle", "seconds": 2.5},
        {"kind": "throttle", "seconds": 60, "retry_after": "date"},
        {"kind": "throttle", "retry_after": "none"},
        {"kind": "unavailable"},
        {"kind": "error", "status": 500, "code": "ErrorInternalServerTransientError"},
        {"kind": "error", "status": 502},
        {"kind": "error", "status": 503, "code": "ErrorMailboxMoveInProgress", "retry_after": "seconds"},
        {"kind": "error", "status": 504},
        {"kind": "error", "status": 409, "code": "ErrorIrresolvableConflict"},
        {"kind": "error", "status": 423, "code": "resourceLocked"},
        {"kind": "error", "status": 404},
        {"kind": "error", "status": 404, "code": "ErrorItemNotFound"},
    ]
    for fault in faults:
        shared.control.do("add_fault", door="graph", command="$value", times=1, **fault)
        outcomes = list(source.fetch(folder, entries))
        assert Counter(each.entry.native_id for each in outcomes) == Counter(
            each.native_id for each in entries
        )
        for each in outcomes:
            assert isinstance(each, Fetched), fault
            assert each.entry.identity
            assert normalise(each.mime).header_key == each.entry.identity.header_key, fault
        shared.control.do("clear_faults")
    assert {90, 2.5} <= {round(each, 3) for each in clock.waits}
    assert any(50 < each <= 60 for each in clock.waits), "the date was waited for"


def test_failure_is_contained_in_the_message_that_exchange_cannot_convert(
    shared: RunningSandbox, open_kim: Opened
) -> None:
    source = open_kim(shared)
    folder = inbox_of(source)
    entries = walk(source, folder)[0][:6]
    poison = next(each for each in of_kim(shared) if each["immutable_id"] == entries[3].native_id)
    for code, reason, fidelity in (
        ("ErrorMimeContentConversionFailed", "conversion-failed", "graph-json"),
        ("ErrorItemCorrupt", "item-corrupt", "graph-json-without-body"),
    ):
        fault = {"kind": "error", "status": 500, "code": code, "uid": poison["uid"]}
        shared.control.do("add_fault", door="graph", command="$value", mailbox=KIM, **fault)
        outcomes = list(source.fetch(folder, entries))
        (failed,) = (each for each in outcomes if isinstance(each, FetchFailed))
        assert failed.entry == entries[3]
        assert (failed.reason, failed.fidelity) == (reason, fidelity)
        assert failed.entry.identity
        assert failed.fallback
        assert normalise(failed.fallback).header_key == failed.entry.identity.header_key
        assert len(outcomes) == len(entries)
        shared.control.do("clear_faults")


def test_a_mailbox_out_of_scope_is_named_with_the_missing_role(
    shared: RunningSandbox, open_kim: Opened
) -> None:
    shared.control.do("grant", address=KIM, granted=False)
    with pytest.raises(MailboxRefusedError, match=KIM) as caught:
        open_kim(shared).folders()
    assert "Mail.Read" in str(caught.value)


def test_rbac_for_applications_reads_without_a_role_in_the_token(
    shared: RunningSandbox, open_kim: Opened
) -> None:
    shared.control.do("tokens", roles={GRAPH: []})
    with pytest.raises(MailboxRefusedError):
        open_kim(shared).folders()
    shared.control.do("graph", roles_required=False)
    assert open_kim(shared).folders()


def test_a_cloud_without_delta_is_listed(shared: RunningSandbox, open_kim: Opened) -> None:
    shared.control.do("graph", cloud="china")
    source = open_kim(shared)
    folder = inbox_of(source)
    entries, _ = walk(source, folder)
    assert {each.native_id for each in entries} == source.native_ids(folder)
    assert all(isinstance(each, Fetched) for each in source.fetch(folder, entries[:5]))


def test_a_folder_that_is_not_there_is_gone(shared: RunningSandbox, open_kim: Opened) -> None:
    source = open_kim(shared)
    native = inbox_of(source).native
    with pytest.raises(FolderGoneError, match="Projects"):
        list(source.changes(Folder("Projects", Role.OTHER, native[:-6] + "AAAAA="), None))


def test_a_link_that_the_server_forgot_is_a_reset(shared: RunningSandbox, open_kim: Opened) -> None:
    source = open_kim(shared)
    folder = inbox_of(source)
    entries, cursor = walk(source, folder)
    for _ in range(4):
        later = walk(source, folder, cursor)
    steps = list(source.changes(folder, cursor))
    assert later
    assert isinstance(steps[0], Reset)
    found = {each.native_id for step in steps if isinstance(step, Page) for each in step.entries}
    assert found == {each.native_id for each in entries}


def test_a_move_there_and_back_is_lost_by_delta_and_found_by_the_ids(
    sandbox: RunningSandbox, open_kim: Opened
) -> None:
    source = open_kim(sandbox)
    folder = inbox_of(source)
    entries, cursor = walk(source, folder)
    moved = next(each for each in of_kim(sandbox) if each["immutable_id"] == entries[0].native_id)
    there = sandbox.control.do("move", address=KIM, path="Inbox", uid=moved["uid"], to_path="Archive")
    sandbox.control.do("move", address=KIM, path="Archive", uid=there["uid"], to_path="Inbox")
    pages = [each for each in source.changes(folder, cursor) if isinstance(each, Page)]
    assert moved["immutable_id"] in frozenset[str]().union(*(page.removed for page in pages))
    assert moved["immutable_id"] in source.native_ids(folder)
    assert source.count(folder) == len({each.native_id for each in entries})


def ingest(config: Config, clock: WaitlessClock) -> MailboxReport:
    with Workspace(config, clock) as workspace:
        return ingest_mailbox(workspace, config.mailbox(KIM))


def in_lake(config: Config) -> list[str]:
    """Kim's messages by key, each of which has to be that of the bytes in ``raw``."""
    raw, rows = (
        pads.dataset(f"{config.storage.lake}/{name}", partitioning="hive").to_table()
        for name in ("raw", "messages")
    )
    keys = {each["message_key"]: normalise(each["mime"]).message_key for each in raw.to_pylist()}
    return sorted(keys[each["message_key"]] for each in rows.to_pylist())


def in_tenant(sandbox: RunningSandbox) -> list[str]:
    """Kim's different messages by key."""
    different = {each["sha256"]: each for each in of_kim(sandbox)}.values()
    mimes = (sandbox.control.read(KIM, each["folder"], each["uid"]) for each in different)
    return sorted({normalise(each).message_key for each in mimes})


def test_nothing_lost_nothing_twice_in_a_mailbox_that_starts_on_graph(
    sandbox: RunningSandbox, clock: WaitlessClock
) -> None:
    sandbox.control.do("graph", empty_pages=0, repeats=0)
    config = on_graph(sandbox)
    report = ingest(config, clock)
    assert (report.outcome, report.protocol) == (Outcome.DONE, "graph")
    assert in_lake(config) == in_tenant(sandbox)
    before = Counter(sandbox.control.do("asked")["graph"])
    again = ingest(config, clock)
    assert (again.outcome, again.downloads) == (Outcome.DONE, 0)
    assert in_lake(config) == in_tenant(sandbox)
    folders, with_folders = len(again.rounds), 1
    assert Counter(sandbox.control.do("asked")["graph"]) - before == {
        "$BATCH": 3,
        "FOLDER": 8,  # in the batch
        "FOLDERS": 1 + with_folders,
        "DELTA": folders,  # in one batch
        "MESSAGES": folders,  # counted in another one
    }
    assert sandbox.control.do("attempts") == []


READ_AND_TELL = """
import sys
from pathlib import Path
from pipelines.config import load_config
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.workspace import Workspace
with Workspace(load_config(Path(sys.argv[1]))) as workspace:
    report = ingest_mailbox(workspace, workspace.config.mailbox(sys.argv[2]))
models = [name for name in sys.modules if name.startswith("msgraph.generated.models")]
print(report.outcome.value, report.messages > 0, models)
"""


def test_no_answer_goes_through_the_sdks_models(sandbox: RunningSandbox) -> None:
    """They are slower by two orders of magnitude: docs/graph.md has the figures."""
    on_graph(sandbox)
    path = sandbox.config_path.with_name("graph.yaml")
    command = [sys.executable, "-c", READ_AND_TELL, str(path), KIM]
    ran = subprocess.run(command, capture_output=True, text=True, env=sandbox.environment, check=True)
    assert ran.stdout == "done True []\n"


def test_nothing_lost_in_a_storm(start_sandbox: Starter, clock: WaitlessClock) -> None:
    sandbox = start_sandbox("--messages", "250")
    config = on_graph(sandbox)
    sandbox.control.do("tokens", lifetime=5)
    for kind, more in (("throttle", {"seconds": 20}), ("unavailable", {}), ("drop", {"bytes": 100})):
        sandbox.control.do("add_fault", kind=kind, door="graph", probability=0.12, **more)
    sandbox.control.do("add_fault", probability=0.2, **EXPIRED)
    for _ in range(8):
        report = ingest(config, clock)
        if report.outcome is Outcome.DONE:
            break
    assert report.outcome is Outcome.DONE
    assert in_lake(config) == in_tenant(sandbox)
    assert sandbox.control.do("clear_faults") > 0.25 * sum(sandbox.control.do("asked")["graph"].values())
    assert sum(clock.waits) > 100
    assert sandbox.control.do("attempts") == []


def test_secrets_stay_secret_in_a_storm(
    sandbox: RunningSandbox,
    clock: WaitlessClock,
    all_logs: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: set[str] = set()
    original = TokenProvider.token

    def noting(self: TokenProvider, *asked: Any, **more: Any) -> str:
        token = original(self, *asked, **more)
        given.add(token)
        return token

    monkeypatch.setattr(TokenProvider, "token", noting)
    sandbox.control.do("add_fault", kind="expire", door="graph", probability=0.2)
    sandbox.control.do("add_fault", times=3, **EXPIRED)
    refused = {"kind": "error", "status": 403, "code": "ErrorAccessDenied", "command": "delta"}
    sandbox.control.do("add_fault", door="graph", **refused)
    report = ingest(on_graph(sandbox), clock)
    assert len(given) > 1
    assert report.folder_errors
    told = "".join(map(str, report.folder_errors.values())) + str(report.to_json()) + all_logs.text
    assert "httpx" in told, "nothing was logged, so nothing was proved"
    for kept in (*given, sandbox.secret, "$deltatoken=", "$skiptoken="):
        assert kept not in told

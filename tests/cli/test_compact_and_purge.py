"""``mailover compact`` and ``mailover purge`` over a sandbox tenant."""

from pathlib import Path

import click
import pytest

from pipelines.lake import partition
from tests.cli_fixture import Command
from tests.sandbox_fixture import RunningSandbox

KIM, ALEX, SALES = "kim.akers@contoso.com", "alex.wilber@contoso.com", "sales@contoso.com"


@pytest.fixture
def tenant(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, mailover: Command) -> RunningSandbox:
    """A tenant of which every mailbox was ingested."""
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    assert mailover("ingest").code == 0
    return sandbox


def data(tenant: RunningSandbox, address: str) -> list[Path]:
    return [path for path in (tenant.directory / "lake").rglob("*") if partition(address) in str(path)]


def test_compact_tells_what_it_merged(tenant: RunningSandbox, mailover: Command) -> None:
    said = mailover("compact", "--json")
    assert said.code == 0
    reports = said.json["mailboxes"]
    assert [each["mailbox"] for each in reports] == [ALEX, KIM, SALES]
    assert {each["outcome"] for each in reports} == {"done"}
    assert KIM in mailover("compact", KIM).out


def test_compact_exits_1_where_a_mailbox_cannot_be_compacted(
    tenant: RunningSandbox, mailover: Command
) -> None:
    next(path for path in data(tenant, KIM) if path.suffix == ".parquet").unlink()
    said = mailover("compact")
    assert said.code == 1
    assert "mailover verify" in said.err
    assert mailover("compact", ALEX).code == 0


def test_purge_asks_for_the_address(
    tenant: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(click, "prompt", lambda *_args, **_options: "yes")
    said = mailover("purge", KIM)
    assert (said.code, "nothing was erased" in said.err) == (2, True)
    assert data(tenant, KIM)
    monkeypatch.setattr(click, "prompt", lambda *_args, **_options: KIM)
    said = mailover("purge", KIM)
    assert said.code == 0
    assert "its next round reads it from the beginning" in said.err
    assert data(tenant, KIM) == []


def test_purge_of_a_mailbox_that_is_configured_no_more(tenant: RunningSandbox, mailover: Command) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(text.replace(f"  - address: {SALES}\n    legacy: imap\n", ""))
    said = mailover("purge", SALES.upper(), "--yes", "--json")
    assert said.code == 0
    assert (said.json["mailbox"], said.json["configured"]) == (SALES, False)
    assert said.json["rows"]["messages"] == said.json["texts"] > 0
    assert data(tenant, SALES) == []
    assert mailover("search", f"mailbox:{SALES}", "--json").json == []
    assert mailover("verify").code == 0
    again = mailover("purge", SALES, "--yes")
    assert (again.code, "nothing is known of a mailbox" in again.err) == (2, True)


def test_bad_input_gets_a_clear_error_for_a_mailbox_nobody_knows(
    tenant: RunningSandbox, mailover: Command
) -> None:
    said = mailover("purge", "kim.aker@contoso.com", "--yes")
    assert (said.code, f"did you mean {KIM}?" in said.err) == (2, True)

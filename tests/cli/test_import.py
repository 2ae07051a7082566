"""``mailover import``: what it says, and how it exits."""

from pathlib import Path

import pytest

from pipelines.index.lease import hold
from pipelines.ingest.workspace import open_workspace
from tests.cli_fixture import Command

KIM = "kim.akers@contoso.com"
LETTER = b"From: megan.bowen@contoso.com\nMessage-ID: <%d@contoso.com>\nSubject: Years ago\n\nText %d\n"
CONFIGURATION = f"""
tenant:
  id: 11111111-2222-3333-4444-555555555555
  client_id: 66666666-7777-8888-9999-000000000000
  credential: {{secret_env: MAILOVER_CLIENT_SECRET}}
storage: {{lake: ./lake, index: "sqlite:///mailover.db"}}
mailboxes:
  - {{address: {KIM}, legacy: imap}}
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three messages in two files, beside a configuration; no server is needed, nor a secret."""
    (tmp_path / "mailover.yaml").write_text(CONFIGURATION)
    monkeypatch.setenv("MAILOVER_CONFIG", str(tmp_path / "mailover.yaml"))
    monkeypatch.delenv("MAILOVER_CLIENT_SECRET", raising=False)
    files = tmp_path / "export"
    (files / "2019").mkdir(parents=True)
    separated = [b"From megan Sat Mar  1 09:00:00 2025\n" + LETTER % (each, each) for each in (1, 2)]
    (files / "Inbox.mbox").write_bytes(b"\n".join(separated))
    (files / "2019" / "3.eml").write_bytes(LETTER % (3, 3))
    return files


def test_an_import_says_what_came_and_again_that_nothing_did(archive: Path, mailover: Command) -> None:
    (archive / "photo.jpg").write_bytes(b"\xff\xd8")
    said = mailover("import", KIM, str(archive))
    assert said.code == 0
    assert "3 messages in 2 files: 3 new to the lake" in said.out
    assert f"passed over, no mail: {archive}/photo.jpg" in said.out
    rows = [line.split() for line in said.out.splitlines()]
    assert ["2019", "1", "1", "0", "0"] in [row[:5] for row in rows]
    assert ["Inbox", "2", "2", "0", "0"] in [row[:5] for row in rows]
    again = mailover("import", KIM, str(archive))
    assert (again.code, again.err) == (0, "")
    assert "3 messages in 2 files: nothing new" in again.out


def test_imported_mail_is_found_shown_and_counted(archive: Path, mailover: Command) -> None:
    report = mailover("import", KIM, str(archive), "--json").json
    assert (report["outcome"], report["messages"], report["mail_files"]) == ("done", 3, 2)
    assert [folder["path"] for folder in report["folders"]] == ["2019", "Inbox"]
    (hit,) = mailover("search", "in:2019", "--json").json
    assert hit["subject"] == "Years ago"
    assert mailover("status", KIM, "--json").json[0]["counts"]["messages"] == 3
    assert mailover("verify", KIM).code == 0


def test_a_copy_of_what_is_there_is_told_from_what_is_new(archive: Path, mailover: Command) -> None:
    mailover("import", KIM, str(archive / "2019"))
    (archive / "Sent").mkdir()
    (archive / "Sent" / "3.eml").write_bytes(LETTER % (3, 3))
    said = mailover("import", KIM, str(archive))
    assert "4 messages in 3 files: 2 new to the lake, 1 in the lake already, 1 imported before" in said.out


def test_failure_is_contained_files_that_cannot_be_read_are_named_and_exit_1(
    archive: Path, mailover: Command
) -> None:
    for number in range(5):
        (archive / f"{number}.pst").write_bytes(b"!BDN")
    said = mailover("import", KIM, str(archive))
    assert said.code == 1
    assert "3 new to the lake" in said.out
    named = f"{archive}/0.pst, {archive}/1.pst, {archive}/2.pst and 2 more"
    assert f"not read, an Outlook data file: convert it, with readpst for instance: {named}" in said.err
    assert len(mailover("import", KIM, str(archive), "--json").json["unreadable"]) == 5


def test_bad_input_gets_a_clear_error_and_exit_2(archive: Path, mailover: Command) -> None:
    (archive / "notes.txt").write_bytes(b"no mail")
    for arguments, expected in {
        (KIM, str(archive / "nothing")): "is not there",
        (KIM, str(archive / "notes.txt")): "no mail in",
        ("kim.aker@contoso.com", str(archive)): f"did you mean {KIM}?",
        (KIM,): "Missing argument 'PATH...'",
        (): "Missing argument 'MAILBOX'",
    }.items():
        said = mailover("import", *arguments)
        assert said.code == 2, arguments
        assert expected in said.err
        assert "Traceback" not in said.err


def test_one_writer_an_import_beside_another_run_is_left_undone_and_exits_1(
    archive: Path, mailover: Command
) -> None:
    with open_workspace() as workspace, hold(workspace.index, KIM, workspace.clock):
        said = mailover("import", KIM, str(archive))
    assert said.code == 1
    assert "being written by process" in said.err
    assert "nothing new" not in said.out

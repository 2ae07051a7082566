"""The documentation says what is: links lead somewhere, commands run, columns exist."""

import re
import shlex
import tempfile
from pathlib import Path

import pytest
from pip._internal.models import index

from pipelines.ingest.reasons import REASONS
from pipelines.lake.schema import MESSAGES_SCHEMA, RAW_SCHEMA
from tests.cli_fixture import Command
from tests.sandbox_fixture import RunningSandbox

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in ROOT.glob("docs/*.md")}


def test_every_column_of_the_lake_is_documented_with_its_type() -> None:
    page = (ROOT / "docs" / "lake.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| ", page.partition("## raw")[0], re.MULTILINE))
    assert documented == {field.name: str(field.type) for field in MESSAGES_SCHEMA}
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| ", page.partition("## raw")[2], re.MULTILINE))
    assert documented == {field.name: str(field.type) for field in RAW_SCHEMA}


def test_every_reason_for_quarantine_is_documented_as_the_command_tells_it() -> None:
    page = (ROOT / "docs" / "quarantine.md").read_text().partition("## Why")[2].partition("## Ask")[0]
    documented = re.findall(r"^\| `([\w-]+)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert documented == [(name, each.meaning, each.remedy) for name, each in REASONS.items()]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            found += re.findall(r"^\$ mailover (.+)$", block, re.MULTILINE)
    return found


def write_archives(directory: Path) -> None:
    """The mail files that the pages import."""
    letter = b"From: megan.bowen@contoso.com\nSubject: Years ago\n\nText\n"
    for place in ("Inbox.mbox", "export/Sent Items/mbox", "Maildir/cur/1:2,S"):
        (directory / place).parent.mkdir(parents=True, exist_ok=True)
        (directory / place).write_bytes(b"From megan Sat Mar  1 09:00:00 2025\n" + letter)


def test_the_commands_of_the_pages_run(
    sandbox: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    monkeypatch.chdir(tmp_path)
    write_archives(tmp_path)
    assert mailover("ingest").code == 0
    key = mailover("search", "to:kim", "--limit", "1", "--json").json[0]["message_key"]
    assert len(commands()) > 8
    for command in commands():
        arguments = [key if each == "KEY" else each for each in shlex.split(command)]
        said = mailover(*arguments)
        assert said.code == 0, f"{command}: {said.err}"


def test_the_readme_shows_what_make_offers() -> None:
    offered = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), re.DOTALL):
            for target in re.findall(r"^make ([a-z]+)", block, re.MULTILINE):
                assert target in offered, f"{page.name}: make {target}"


PLACES = [ROOT / "requirements.lock", ROOT / "pyproject.toml", ROOT / "Makefile"]


def test_what_is_installed_is_named_without_an_address() -> None:
    for file in PLACES:
        assert not re.search(r"\w+://|--(extra-)?index-url|--find-links", file.read_text()), file


def test_no_page_names_a_registry() -> None:
    known = [each for each in vars(index).values() if isinstance(each, index.PackageIndex)]
    hosts = {host for each in known for host in (each.netloc, each.file_storage_domain)}
    names = hosts | {host.rpartition(".")[0] for host in hosts}
    assert len(names) > 3
    for file in [*PAGES, *PLACES]:
        text = file.read_text().lower()
        assert not [name for name in names if name in text], file


def test_no_page_names_a_folder_of_this_machine() -> None:
    folders = {ROOT, ROOT.parent, Path.home(), Path(tempfile.gettempdir())} - {Path("/")}
    for file in [*PAGES, *PLACES]:
        for folder in folders:
            assert not re.search(rf"(?<![\w.]){re.escape(str(folder))}/\w", file.read_text()), (file, folder)

"""The report says what is, in one file that a browser shows by itself."""

import re
from pathlib import Path

from pipelines.cutover.phases import Phase
from pipelines.cutover.report_data import gather
from pipelines.cutover.report_page import render, write_report
from tests.browser_fixture import Browser
from tests.cutover.conftest import Opener
from tests.cutover.steps import GRAPH, deliver, move, read
from tests.ingest.model import ALEX, KIM, mail
from tests.tenant_model import TenantWorkspace


def story(workspace: TenantWorkspace) -> None:
    """Kim goes to Graph; Alex stays in the shadow with a message that Graph lacks."""
    for address in (KIM, ALEX):
        deliver(workspace, 1, 2, 3, address=address)
        read(workspace, address)
        workspace.clock.sleep(3 * 86400)
        move(workspace, Phase.SHADOW, address)
    workspace.clock.sleep(3 * 86400)
    move(workspace, Phase.GRAPH)
    extra = workspace.model.store.deliver(
        ALEX, "Inbox", mail(7).replace(b"Subject: Report 7", b"Subject: <script>alert(1)</script>")
    )
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    read(workspace)
    read(workspace, ALEX)
    workspace.clock.sleep(86400)


def test_the_report_opens_in_a_browser_on_a_desk_and_on_a_phone(
    reopen: Opener, tmp_path: Path, browser: Browser
) -> None:
    workspace = reopen(waves=["pilot"])
    story(workspace)
    page = tmp_path / "report.html"
    write_report(gather(workspace), page)
    for width in (1200, 390):
        shown = browser(page, width)
        assert "2 mailboxes on their way to Graph" in shown
        assert "1 difference needs a person" in shown
        assert "missing-in-graph" in shown
        assert shown.count("<svg") == 5
        assert "<script" not in shown, "a subject is text, not HTML"


def test_the_report_loads_nothing_from_anywhere(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"])
    story(workspace)
    page = render(gather(workspace))
    assert not re.search(r"https?://|<script|<link|@import|url\(|src=", page)


def test_the_timeline_ends_with_how_it_is_now(reopen: Opener) -> None:
    workspace = reopen()
    story(workspace)
    data = gather(workspace)
    assert data.timeline[-1].phases == data.phases == {"graph": 1, "shadow": 1}
    assert +data.timeline[0].phases == {"legacy": 2}


def test_secrets_stay_secret_the_report_is_its_owners_only(
    workspace: TenantWorkspace, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    write_report(gather(workspace), page)
    assert page.stat().st_mode & 0o077 == 0
    assert "Nothing has been moved yet." in page.read_text()

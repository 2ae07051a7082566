"""``mailover parity``."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.actor import actor
from pipelines.cli.ingest import exit_code, showing_progress
from pipelines.cli.output import json_option, number, print_json, stdout, table
from pipelines.cutover.parity import GRADES, Grade, Kind, open_items
from pipelines.cutover.passes import compare_now
from pipelines.errors import UsageError
from pipelines.index.journal import phase_row
from pipelines.index.parity import Acceptance, Parity, accept, accepted, newest_parities
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.workspace import Workspace, open_workspace


@click.command()
@click.argument("mailboxes", nargs=-1)
@click.option("--accept", "items", multiple=True, metavar="ITEM", help="Accept a listed difference by name.")
@click.option("--reason", help="Why it is accepted; goes into the journal with the switch.")
@json_option
@click.pass_obj
def parity(
    config: Path | None, mailboxes: tuple[str, ...], items: tuple[str, ...], reason: str | None, as_json: bool
) -> int:
    """Compare both protocols' view of MAILBOXES now: a grade, and every difference.

    Without MAILBOXES, all that have a legacy protocol. With --accept, nothing is compared:
    the named differences of the last comparison are accepted.
    """
    with open_workspace(config) as workspace:
        if items:
            return _accept(workspace, mailboxes, items, reason)
        chosen = workspace.config.select(mailboxes)
        if not mailboxes:
            chosen = [each for each in chosen if each.legacy]
        with showing_progress() as progress:
            reports = list(run_stage(workspace, Stage.RAW_MESSAGES, chosen, progress, read=compare_now))
        reports.sort(key=lambda each: each.mailbox)
        words = {each.mailbox: _accepted(workspace, each.mailbox) for each in reports}
    if as_json:
        print_json([_to_json(each, words[each.mailbox]) for each in reports])
    else:
        _print(reports, words)
    uneasy = any(each.parity is None or _needs_person(each.parity, words[each.mailbox]) for each in reports)
    return exit_code(reports) or int(uneasy)


def _needs_person(found: Parity, words: dict[str, Acceptance]) -> bool:
    return found.grade == Grade.POOR or bool(open_items(found, words))


def _accepted(workspace: Workspace, address: str) -> dict[str, Acceptance]:
    return accepted(workspace.index, phase_row(workspace.index, address).mailbox_id)


def _accept(
    workspace: Workspace, mailboxes: tuple[str, ...], items: tuple[str, ...], reason: str | None
) -> int:
    if not reason or not reason.strip():
        raise UsageError("--accept needs a reason", remedy='add --reason "why it may stand"')
    if len(mailboxes) != 1:
        raise UsageError("--accept names differences of one mailbox", remedy="name that mailbox")
    mailbox = workspace.config.mailbox(mailboxes[0])
    mailbox_id = phase_row(workspace.index, mailbox.address).mailbox_id
    last = newest_parities(workspace.index, mailbox_id, 1)
    listed = {each.item: each for found in last for each in found.differences}
    for item in items:
        if item not in listed:
            raise UsageError(
                f"{item} is no difference of the last comparison of {mailbox.address}",
                remedy=f"`mailover parity {mailbox.address}` compares now and lists them",
            )
        if GRADES[Kind(listed[item].kind)] is Grade.POOR:
            raise UsageError(
                f"{item} cannot be accepted: {listed[item].why}",
                remedy="a message that Graph does not have keeps the mailbox on its legacy protocol",
            )
    now = workspace.clock.now()
    accept(workspace.index, mailbox_id, [Acceptance(each, now, actor(), reason) for each in items])
    for item in items:
        click.echo(f"{mailbox.address}: {item} accepted: {listed[item].kind}, {listed[item].why}")
    return 0


def _to_json(report: MailboxReport, words: dict[str, Acceptance]) -> dict[str, Any]:
    found = report.parity
    errors = [str(each) for each in (report.error, *report.folder_errors.values()) if each]
    errors += [str(each) for each in report.compare_errors.values()]
    return {
        "address": report.mailbox,
        "grade": found.grade if found else None,
        "time": found.at.isoformat() if found else None,
        "legacy": found.legacy if found else None,
        "counts": found.counts if found else None,
        "differences": [
            {
                "item": each.item,
                "kind": each.kind,
                "grade": GRADES[Kind(each.kind)],
                "message_id": each.message_id,
                "subject": each.subject,
                "message_key": each.message_key,
                "folder": each.folder,
                "legacy_id": each.legacy_id,
                "graph_id": each.graph_id,
                "why": each.why,
                "action": each.action,
                "accepted": words[each.item].reason if each.item in words else None,
            }
            for each in (found.differences if found else ())
        ],
        "errors": errors,
    }


def _print(reports: list[MailboxReport], words: dict[str, dict[str, Acceptance]]) -> None:
    columns = [("mailbox", "left"), ("grade", "left")]
    columns += [(name, "right") for name in ("legacy", "graph", "matched", "weak", "newly covered")]
    columns += [("differences", "right")]
    rows: list[tuple[object, ...]] = []
    for report in reports:
        if report.parity is None:
            rows.append((report.mailbox, "not compared", *[""] * 6))
            continue
        counts = report.parity.counts
        rows.append(
            (
                report.mailbox,
                report.parity.grade,
                number(counts["messages"]["legacy"]),
                number(counts["messages"]["graph"]),
                number(sum(counts["matched"].values())),
                counts["matched"].get("weak", 0),
                number(counts.get("newly_covered", 0)),
                len(report.parity.differences),
            )
        )
    stdout().print(table(columns, rows))
    for report in reports:
        _print_differences(report, words[report.mailbox])


def _print_differences(report: MailboxReport, words: dict[str, Acceptance]) -> None:
    for error in (report.error, *report.folder_errors.values(), *report.compare_errors.values()):
        if error:
            click.echo(f"{report.mailbox}: {error}", err=True)
    for each in report.parity.differences if report.parity else ():
        named = f"“{each.subject}” <{each.message_id}>" if each.message_id else each.subject or ""
        click.echo(f"\n{report.mailbox}: {each.item} {each.kind} in {each.folder}: {named}")
        click.echo(f"  {each.why}")
        click.echo(f"  → {f'accepted: {words[each.item].reason}' if each.item in words else each.action}")

"""What of a mailbox is read, what is not, and why: stated, never implied."""

from collections.abc import Iterator, Sequence

from pipelines.config import FolderRules, MailboxConfig
from pipelines.doctor.findings import Area, Check, Coverage, Finding
from pipelines.sources.base import Folder, ProtocolName

FOLDERS = Check(Area.COVERAGE, "folders")
RULES = Check(Area.COVERAGE, "folder-rules")
UNREACHABLE = Check(Area.COVERAGE, "unreachable")
LABELS = {ProtocolName.IMAP: "IMAP", ProtocolName.POP3: "POP3", ProtocolName.GRAPH: "Graph"}
_NAMES_SHOWN = 8
_EXPORT = "export it, and bring the export in with `mailover import`"
_USAGE = 2


def cover(mailbox: MailboxConfig, protocol: ProtocolName, folders: Sequence[Folder]) -> Coverage:
    """The coverage of a mailbox whose protocol shows ``folders``."""
    mail = [folder for folder in folders if not folder.skipped]
    read = mailbox.folders.select(mail)
    chosen = {folder.native for folder in read}
    return Coverage(
        mailbox.address,
        protocol,
        tuple(folder.path for folder in read),
        tuple(
            (folder.path, folder.skipped or "excluded by the configuration")
            for folder in folders
            if folder.native not in chosen
        ),
        tuple(unreachable(protocol)),
    )


def unmatched_rules(rules: FolderRules, folders: Sequence[Folder]) -> tuple[str, ...]:
    """The rules that no folder of the mailbox answers to: as a rule, spelled wrong."""
    return tuple(
        rule
        for rule in (*rules.include, *rules.exclude)
        if not FolderRules(include=(rule,)).select(list(folders))
    )


def unreachable(protocol: ProtocolName) -> Iterator[tuple[str, str]]:
    """What ``protocol`` does not show at all, each with the reason.

    Hidden folders are among the folders that Graph lists. Sources: Microsoft, Set-ImapSettings
    (ShowHiddenFoldersEnabled); Graph, "List mailFolders" (the primary mailbox only).
    """
    if protocol is ProtocolName.GRAPH:
        yield "in-place archive", f"Graph's mailFolders are those of the primary mailbox; {_EXPORT}"
        yield "Recoverable Items", "outside the folder tree that Graph lists"
        return
    if protocol is ProtocolName.POP3:
        yield "every folder but the Inbox", "POP3 knows no folders; Graph does"
    yield "in-place archive", f"neither IMAP nor POP3 reaches it; {_EXPORT}"
    yield "Recoverable Items", "outside the folder tree that is shown"
    yield "hidden folders", "neither IMAP nor POP3 shows them; Graph does, with folders.hidden"


def describe(coverage: Coverage, unmatched: Sequence[str]) -> Iterator[Finding]:
    """The statement for one mailbox, and what is wrong with its folder rules."""
    for rule in unmatched if coverage.protocol is not ProtocolName.POP3 else ():
        yield RULES.warning(
            coverage.mailbox,
            f"the rule “{rule}” names no folder that {LABELS[coverage.protocol]} shows",
            "correct its spelling in mailover.yaml (a path, or a role such as inbox), or take it out",
        )
    if not coverage.read:
        yield RULES.failure(
            coverage.mailbox,
            f"its folder rules leave nothing to read over {LABELS[coverage.protocol]}",
            "correct folders of the mailbox in mailover.yaml",
            exit_code=_USAGE,
        )
        return
    reasons: dict[str, list[str]] = {}
    for path, why in coverage.skipped:
        reasons.setdefault(why, []).append(path)
    total = len(coverage.read) + len(coverage.skipped)
    left_out = "".join(f"; not {_names(paths)} ({why})" for why, paths in reasons.items())
    what = f"{LABELS[coverage.protocol]} reads {len(coverage.read)} of {total} folders{left_out}"
    yield FOLDERS.ok(coverage.mailbox, what)


def describe_unreachable(protocol: ProtocolName) -> Finding:
    """What no mailbox shows over ``protocol``."""
    what = "; ".join(f"{what} ({why})" for what, why in unreachable(protocol))
    return UNREACHABLE.skipped(f"over {LABELS[protocol]}", f"not read: {what}")


def _names(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMES_SHOWN
    return ", ".join(paths[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

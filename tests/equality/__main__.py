"""The whole corpus through every protocol: ``make equality``.

    python -m tests.equality --corpus DIR          DIR holds MANIFEST.tsv
    python -m tests.equality --corpus DIR --json

Every message of the corpus is delivered to mailboxes of a sandbox, read by IMAP, POP3 and Graph
and from its files, each time into a lake of its own. Exit code 1 where a goal is missed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.equality.grades import Match, match, shared_keys
from tests.equality.letters import Letter, corpus
from tests.equality.reading import Reading, differing_rows
from tests.equality.servers import SandboxMail
from tests.sandbox_fixture import running_sandbox

_PER_MAILBOX = 2000
"""Letters; Graph's limits make one mailbox of all of them slow."""
_PROTOCOLS = ("imap", "pop3", "graph", "archive")
_WEAK_GOAL = 0.005


class Findings:
    """What the whole corpus came to."""

    def __init__(self) -> None:
        self.matches: Counter[Match] = Counter()
        self.odd: list[tuple[str, str]] = []
        """Letters that match neither exact nor canonical."""
        self.rows: Counter[str] = Counter()
        self.differing: dict[str, set[str]] = {each: set() for each in _PROTOCOLS[1:]}
        """Letters of which a protocol's row says something else than IMAP's, by protocol."""
        self.keyed: list[tuple[str, Letter]] = []

    def add(self, mail: SandboxMail, readings: dict[str, Reading]) -> None:
        """What one mailbox came to."""
        imap, graph = readings["imap"], readings["graph"]
        for letter, legacy_id, graph_id in mail.ids(imap):
            found = match(imap.shown.get(legacy_id), graph.shown.get(graph_id))
            self.matches[found] += 1
            if found in (Match.WEAK, Match.NONE):
                reason = graph.quarantined.get(graph_id, "")
                self.odd.append((letter.name, f"{found} {reason}".strip()))
            self.keyed.append((imap.shown[legacy_id].message_key, letter))
        alone = mail.alone(readings["imap"])
        for protocol, reading in readings.items():
            self.rows[protocol] += len(reading.rows)
            if protocol != "imap":
                differing = differing_rows(readings["imap"], reading, alone)
                self.differing[protocol] |= {alone[key].name for key in differing}

    def result(self) -> dict[str, Any]:
        """All of it, for people and scripts."""
        total = sum(self.matches.values())
        return {
            "messages": total,
            "matches": {each.value: self.matches[each] for each in Match},
            "weak_share": self.matches[Match.WEAK] / total,
            "neither_exact_nor_canonical": self.odd,
            "rows": dict(self.rows),
            "rows_that_differ_from_imap": {name: sorted(each) for name, each in self.differing.items()},
            "keys": len({key for key, _ in self.keyed}),
            "keys_shared_by_different_messages": [
                [each.name for each in letters] for letters in shared_keys(self.keyed)
            ],
        }


def run(root: Path, say: Any) -> dict[str, Any]:
    """Read the corpus at ``root`` through every protocol."""
    letters = corpus(root)
    shares = [letters[at : at + _PER_MAILBOX] for at in range(0, len(letters), _PER_MAILBOX)]
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="equality-") as place:
        options = ("--mailboxes", str(len(shares)), "--messages", "0")
        with running_sandbox(Path(place) / "sandbox", *options) as sandbox:
            os.environ["MAILOVER_CLIENT_SECRET"] = sandbox.secret
            for number, (mailbox, share) in enumerate(
                zip(sandbox.config.mailboxes, shares, strict=True), start=1
            ):
                mail = SandboxMail(sandbox, mailbox.address, share)
                began = time.monotonic()
                mail.deliver()
                say(f"mailbox {number} of {len(shares)}: {len(share)} messages", began)
                readings = {}
                for protocol in _PROTOCOLS:
                    began = time.monotonic()
                    readings[protocol] = mail.read(protocol, Path(place) / f"{number}-{protocol}")
                    say(f"  {protocol:8}{len(readings[protocol].rows):6} rows", began)
                findings.add(mail, readings)
    return findings.result()


def missed(result: dict[str, Any]) -> list[str]:
    """The goals that were missed."""
    found = []
    if result["weak_share"] >= _WEAK_GOAL:
        found.append(f"weak: {result['weak_share']:.2%}, the goal is below {_WEAK_GOAL:.1%}")
    lost = [name for name, why in result["neither_exact_nor_canonical"] if why == Match.NONE]
    if lost:
        found.append(f"neither matched nor in quarantine: {len(lost)}, such as {lost[0]}")
    found += [
        f"one key for different messages: {', '.join(names)}"
        for names in result["keys_shared_by_different_messages"]
    ]
    found += [
        f"rows of {protocol} that differ from IMAP's: {len(names)}, such as {names[0]}"
        for protocol, names in result["rows_that_differ_from_imap"].items()
        if names
    ]
    return found


def show(result: dict[str, Any]) -> None:
    """The table."""
    total = result["messages"]
    print(f"\n{total} messages, IMAP's bytes beside Graph's")
    for name, count in result["matches"].items():
        print(f"  {name:10} {count:6}  {count / total:8.3%}")
    for name, why in result["neither_exact_nor_canonical"]:
        print(f"    {why}: {name}")
    for protocol, names in result["rows_that_differ_from_imap"].items():
        print(f"rows of {protocol:8} that differ from IMAP's: {len(names)}")
    shared = result["keys_shared_by_different_messages"]
    print(f"{result['keys']} keys; keys shared by different messages: {len(shared)}")
    for names in shared:
        print(f"    {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")


def main() -> int:
    """0: every goal is met, 1: not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="a folder of mail with MANIFEST.tsv")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    options = parser.parse_args()
    if not (options.corpus / "MANIFEST.tsv").is_file():
        parser.error(f"{options.corpus} holds no MANIFEST.tsv: unpack the corpus and name its folder")

    def say(what: str, began: float) -> None:
        print(f"{what}  {time.monotonic() - began:6.1f} s", file=sys.stderr, flush=True)

    result = run(options.corpus, say)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    failures = missed(result)
    for each in failures:
        print(f"missed: {each}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

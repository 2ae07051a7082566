"""Peak memory of reading a large mailbox from nothing, by each protocol.

    python -m benchmarks.memory                      100,000 messages
    python -m benchmarks.memory --messages 20000 --protocol graph --json

The mailbox lies in a sandbox tenant, a process of its own, and is read through its real doors over TLS
by a process of its own (``benchmarks.reading``), which counts together with the one that makes its
records: small mail, and one message of some 20 MB. What the largest message may take is three times
its size.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.idle import ADDRESS, PROTOCOLS
from benchmarks.racing import scratch
from benchmarks.switch import SHARES, letter, write_mail
from tests.sandbox_fixture import running_sandbox

LARGE = 20_000_000


def large_letter(number: int, size: int) -> bytes:
    """A letter with one long text."""
    line = b"%s\n" % (b"The figures of the year. " * 3)
    return letter(number) + line * (size // len(line))


def measure(protocol: str, messages: int, largest: int = LARGE) -> dict[str, float]:
    """Peak MB, seconds and CPU seconds."""
    legacy = "pop3" if protocol == "pop3" else "imap"
    with scratch() as place:
        write_mail(place / "mail", messages, SHARES[legacy])
        with (place / "mail" / "Inbox.mbox").open("ab") as box:
            large = large_letter(messages, largest)
            box.write(b"From lee.gu@fabrikam.example Mon Jan  1 00:00:00 2024\n" + large + b"\n")
        options = ["--mailboxes", "1", "--mail", str(place / "mail")]
        options += ["--pop3", ADDRESS] if protocol == "pop3" else []
        with running_sandbox(place / "sandbox", *options) as sandbox:
            # As many requests as there are messages would take hours within Graph's limit.
            sandbox.control.do("graph", requests=10 * messages)
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.reading", protocol],
                env=sandbox.environment,
                stdout=subprocess.PIPE,
            )
            assert process.stdout
            with process.stdout:
                told = process.stdout.read().split()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, int(told[0])) == (0, messages + 1)
    peak = int(told[1]) * 1024 / 1e6
    return {
        "peak_mb": peak,
        "beyond_largest_mb": peak - 3 * len(large) / 1e6,
        "seconds": time.perf_counter() - started,
        "cpu_s": used.ru_utime + used.ru_stime,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=100_000, help="in the mailbox (default 100000)")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="only these")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    chosen: Sequence[str] = options.protocol or PROTOCOLS
    figures = {protocol: measure(protocol, options.messages) for protocol in chosen}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for protocol, row in figures.items():
        print(
            f"{protocol:5} peak {row['peak_mb']:5.0f} MB, without three times the largest message"
            f" {row['beyond_largest_mb']:5.0f} MB; {row['seconds']:.1f} s, CPU {row['cpu_s']:.1f} s"
        )


if __name__ == "__main__":
    main()

"""``python -m pipelines.sandbox``: the sandbox as a process of its own, for tests and demos."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from pipelines.errors import MailoverError
from pipelines.sandbox.server import Sandbox, running

_PARENT_CHECK = 0.5
"""Seconds between looks at whether the parent still lives."""
_PARENT = os.getppid()
"""Read at once: a parent that dies while the mailboxes are being filled counts as dead."""


def main() -> int:
    """Run until SIGTERM, SIGINT or, if asked to, the parent's death."""
    parser = argparse.ArgumentParser(prog="pipelines.sandbox", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where its files go")
    parser.add_argument("--mail", type=Path, help="mbox, Maildir or .eml folder to fill it with")
    parser.add_argument("--mailboxes", type=int, default=3)
    parser.add_argument("--pop3", action="append", default=[], help="an address that is read by POP3")
    parser.add_argument("--messages", type=int, default=2400, help="generated messages in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process does")
    given = parser.parse_args()
    end_on_signals()
    try:
        with running(
            given.directory,
            mailboxes=given.mailboxes,
            pop3=given.pop3,
            messages=given.messages,
            mail=given.mail,
            seed=given.seed,
        ) as sandbox:
            announce(sandbox)
            wait(with_parent=given.with_parent)
    except MailoverError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return error.exit_code
    return 0


def announce(sandbox: Sandbox) -> None:
    """One line of JSON on standard output: ready, and where."""
    ready = {
        "config": str(sandbox.config),
        "url": sandbox.url,
        "imap_port": sandbox.imap_port,
        "pop3_port": sandbox.pop3_port,
        "mailboxes": sandbox.mailboxes,
        "messages": sandbox.messages,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


def end_on_signals() -> None:
    """From now on SIGTERM and SIGINT end the process in order, with status 0."""
    numbers = (signal.SIGTERM, signal.SIGINT)

    def leave(_number: int, _frame: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(0)

    for number in numbers:
        signal.signal(number, leave)


def wait(*, with_parent: bool) -> None:
    """Until a signal says stop, or the parent is gone."""
    end_on_signals()
    while not with_parent or os.getppid() == _PARENT:
        time.sleep(_PARENT_CHECK)


if __name__ == "__main__":
    sys.exit(main())

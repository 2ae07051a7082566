"""From ``mailover.yaml`` to a checked ``Config``, with every fault of the file in one error."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config.document import Document, Fault
from pipelines.config.explain import explain
from pipelines.config.models import Config
from pipelines.config.secrets import written_secrets
from pipelines.config.values import Site

DEFAULT_PATH = Path("mailover.yaml")


def load_config(path: Path | None = None) -> Config:
    """Read the configuration at ``path``, else at ``MAILOVER_CONFIG``, else ``./mailover.yaml``.

    Relative paths in it start at its own folder. No secret is read. Raises one
    ``ConfigurationError`` that lists every fault with file, line, key path and remedy.
    """
    path = path or Path(os.environ.get("MAILOVER_CONFIG") or DEFAULT_PATH)
    document = Document(path)
    faults = [*document.faults, *written_secrets(document.data), *_repeated_mailboxes(document.data)]
    site = Site(path, document.where)
    try:
        config = Config.model_validate(document.data, context=site)
    except ValidationError as error:
        faults += explain(error)
    if faults:
        raise document.error(faults)
    return config


def _repeated_mailboxes(data: dict[str, Any]) -> Iterator[Fault]:
    mailboxes = data.get("mailboxes")
    first: dict[str, int] = {}
    for position, mailbox in enumerate(mailboxes if isinstance(mailboxes, list) else []):
        address = mailbox.get("address") if isinstance(mailbox, dict) else None
        if not isinstance(address, str):
            continue
        earlier = first.setdefault(address.lower(), position)
        if earlier != position:
            yield Fault(
                ("mailboxes", position, "address"),
                f"the mailbox {address.lower()} stands twice, first as mailboxes[{earlier}]",
                "keep one entry for each mailbox; upper and lower case are the same",
            )

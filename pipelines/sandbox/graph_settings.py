"""What the Graph door can be told to be like."""

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class Cloud(StrEnum):
    """The clouds whose Graph differs."""

    PUBLIC = "public"
    US_GOV = "us-gov"
    """Without ``translateExchangeIds``."""
    CHINA = "china"
    """Without delta and without ``internetMessageHeaders``."""


@dataclass(slots=True)
class GraphSettings:
    """The door's habits; the control operation ``graph`` changes them."""

    cloud: Cloud = Cloud.PUBLIC
    concurrency: int = 4
    """Requests at a time for each mailbox."""
    requests: int = 10_000
    """Requests per ``window`` seconds for each mailbox."""
    window: float = 600.0
    retry_after: float = 10.0
    """Seconds that a client over one of the two is told to wait."""
    generations: int = 3
    """Links of a folder's delta that are kept: older ones answer 410."""
    gone_with_location: bool = True
    """Whether a 410 names the URL to start again from."""
    empty_pages: float = 0.1
    """Chance that a page of delta is empty, and not the last."""
    repeats: float = 0.1
    """Chance that a page of delta shows a message of an earlier one again, or a round an old change."""
    moves_shown: bool = True
    """Whether delta with immutable ids shows a message that was moved in; some tenants' does not."""
    gzip: bool = True
    """Whether answers are compressed for clients that accept it."""
    control_characters: bool = True
    """Whether control characters stand in JSON as they are."""
    roles_required: bool = True
    """False: RBAC for Applications grants what a token's roles do not."""

    def change(self, **given: Any) -> dict[str, Any]:
        """Change what is given, and tell everything. Raises ``ValueError`` for what is no setting."""
        known = {each.name for each in fields(self)}
        checked = {}
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"{name} is no setting: {', '.join(sorted(known))}")
            kind = type(getattr(self, name))
            if kind is bool and not isinstance(value, bool):
                raise ValueError(f"{name} is true or false")
            checked[name] = kind(value)
        for name, value in checked.items():
            setattr(self, name, value)
        return asdict(self)

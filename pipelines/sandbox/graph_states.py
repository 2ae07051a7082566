"""Where clients are in their rounds of delta: the states behind ``$skiptoken`` and ``$deltatoken``.

Each page makes a new generation of its round's state, and only the newest few are kept: an older
link, also one of the running round, is answered with 410. Source: Microsoft, "Use delta query to
track changes", and the responses quoted in microsoftgraph/microsoft-graph-docs issues 2162 and 2350.
"""

import binascii
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any

from pipelines.sandbox.graph_errors import GraphError, bad_request

_CHAINS_PER_FOLDER = 16


@dataclass(frozen=True, slots=True)
class DeltaState:
    """How far a client is: everything a link stands for."""

    terms: Any
    """What the first request asked for; every link of the chain keeps it."""
    upto: Any
    """What the end of this round stands for, and the next one starts from."""
    pending: tuple[Any, ...] = ()
    """What this round tells in all."""
    told: int = 0
    """How much of it has been told."""
    rested: bool = False
    """Whether the page before was an empty one."""

    @property
    def ended(self) -> bool:
        """Whether the round is over, and the link a deltaLink."""
        return self.told >= len(self.pending)


@dataclass(slots=True)
class _Chain:
    """The generations of one client's states of one folder."""

    key: str
    generation: int = 0
    states: OrderedDict[int, DeltaState] = field(default_factory=OrderedDict)


class DeltaStates:
    """The states of every folder; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: dict[str, OrderedDict[str, _Chain]] = {}

    def keep(self, folder_id: str, token: str | None, state: DeltaState, generations: int) -> str:
        """A new generation after ``token``'s, or of a new chain: the token of its link."""
        with self._lock:
            chains = self._folders.setdefault(folder_id, OrderedDict())
            key = _read(token)[0] if token else token_urlsafe(9)
            chain = chains.setdefault(key, _Chain(key))
            chains.move_to_end(key)
            while len(chains) > _CHAINS_PER_FOLDER:
                chains.popitem(last=False)
            chain.generation += 1
            chain.states[chain.generation] = state
            while len(chain.states) > max(1, generations):
                chain.states.popitem(last=False)
            return urlsafe_b64encode(f"{key} {chain.generation} {token_urlsafe(6)}".encode()).decode()

    def recall(self, folder_id: str, token: str) -> DeltaState:
        """The state that a token stands for. Raises ``GraphError`` 410 once it is forgotten."""
        key, generation = _read(token)
        with self._lock:
            chain = self._folders.get(folder_id, OrderedDict()).get(key) or _Chain(key)
            found = chain.states.get(generation)
            kept = [chain.generation, *chain.states]
        if found is None:
            shown = "".join(f"[{each}]" for each in kept[1:])
            text = f"The sync state generation is not found; generation={generation};"
            raise GraphError(410, "SyncStateNotFound", f"{text}[highest={kept[0]}]{shown}.")
        return found


def _read(token: str) -> tuple[str, int]:
    try:
        key, generation, _ = urlsafe_b64decode(token.encode()).decode().split(" ")
        return key, int(generation)
    except (binascii.Error, ValueError):
        raise bad_request("Badly formed token.") from None

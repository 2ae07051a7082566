"""A YAML file with the line of every value in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipelines.errors import ConfigurationError

Loc = tuple[str | int, ...]
_FAST_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_AS_YAML = "correct the line; nested keys are indented by spaces; a value with : or # in it needs quotes"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the file."""

    loc: Loc
    what: str
    remedy: str


class Document:
    """A configuration file as read: its data, and where each part of it stands."""

    def __init__(self, path: Path) -> None:
        """Read ``path``. Raises ``ConfigurationError`` where it is not there or not one YAML mapping."""
        self.path = path
        text = self._text()
        loader = _FAST_LOADER(text)
        try:
            self._root: Node | None = loader.get_single_node()
            self.faults = list(_repeated_keys(self._root)) if self._root else []
            self.data: Any = loader.construct_document(self._root) if self._root else None
        except (yaml.YAMLError, RecursionError):
            raise self._malformed(text) from None
        except ValueError:
            raise self.error(list(_no_values(self._root))) from None
        if not isinstance(self.data, dict):
            raise self.error(
                [
                    Fault(
                        (),
                        "is not a YAML mapping of keys to values",
                        "start from the file that `mailover init` writes",
                    )
                ]
            )

    def where(self, loc: Loc) -> str:
        """``file:line`` of the key path ``loc``, or of the nearest part of it that is in the file."""
        node = self._root
        line = node.start_mark.line if node else 0
        for step in loc:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return f"{self.path}:{line + 1}"

    def error(self, faults: list[Fault]) -> ConfigurationError:
        """One error that lists every fault in the order of the file."""
        lines = [(self.where(fault.loc), _dotted(fault.loc), fault) for fault in faults]
        lines.sort(key=lambda line: int(line[0].rpartition(":")[2]))
        shown = [
            (f"{where}: {path + ': ' if path else ''}{fault.what}", fault.remedy)
            for where, path, fault in lines
        ]
        before = [f"{text}\n  → {remedy}" for text, remedy in shown[:-1]]
        text, remedy = shown[-1]
        return ConfigurationError("\n".join([*before, text]), remedy=remedy)

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            problem = "there is no such file"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError as error:
            problem = f"is not UTF-8 (byte {error.start})"
        raise ConfigurationError(
            f"{self.path}: {problem}",
            remedy="`mailover init` writes a new one; --config or MAILOVER_CONFIG names another",
        )

    def _malformed(self, text: str) -> ConfigurationError:
        # The fast loader words its errors differently; the slow one says the same everywhere.
        line, problem = 0, "is malformed"
        try:
            yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, problem = (mark.line if mark else 0), _without_content(error.problem or "is malformed")
        except yaml.reader.ReaderError as error:
            line, problem = text.count("\n", 0, error.position), "holds a character that YAML does not allow"
        except RecursionError:
            problem = "is nested too deeply"
        return ConfigurationError(f"{self.path}:{line + 1}: not valid YAML: {problem}", remedy=_AS_YAML)


def _without_content(problem: str) -> str:
    """PyYAML's words without what it quotes from the file, which could be a secret."""
    quoted = re.compile(r"'([^']{2,})'|\"([^\"]{2,})\"|'.'")
    return quoted.sub(lambda found: found[0] if len(found[0]) == 3 or found[0][1] == "<" else "'…'", problem)


def _nodes(root: Node | None) -> Iterator[tuple[Loc, Node]]:
    """Every node once, with its key path; keys are not nodes of their own."""
    pending: list[tuple[Loc, Node]] = [((), root)] if root else []
    seen: set[int] = set()
    while pending:
        loc, node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield loc, node
        if isinstance(node, SequenceNode):
            pending += [((*loc, position), item) for position, item in enumerate(node.value)]
        elif isinstance(node, MappingNode):
            pending += [
                ((*loc, key.value), value) for key, value in node.value if isinstance(key, ScalarNode)
            ]


def _repeated_keys(root: Node) -> Iterator[Fault]:
    for loc, node in _nodes(root):
        first: dict[str, int] = {}
        for key in [key for key, _ in node.value] if isinstance(node, MappingNode) else []:
            if not isinstance(key, ScalarNode):
                continue
            line = key.start_mark.line + 1
            if first.setdefault(key.value, line) != line:
                what = f"the key stands twice, first on line {first[key.value]}"
                yield Fault((*loc, key.value), what, "keep one of the two")


def _no_values(root: Node | None) -> Iterator[Fault]:
    """Values that look like a date or a number and are none, such as 2024-13-01."""
    for loc, node in _nodes(root):
        if isinstance(node, ScalarNode):
            try:
                yaml.safe_load(yaml.serialize(node))
            except ValueError:
                yield Fault(loc, "is not the date or number that it looks like", "put the value in quotes")


def _child(node: Node | None, step: str | int) -> tuple[int, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: Node = node.value[step]
        return item.start_mark.line, item
    if isinstance(node, MappingNode):
        # The last of a repeated key is the one that counts, and the one to point at.
        for key, value in reversed(node.value):
            if isinstance(key, ScalarNode) and key.value == str(step):
                return key.start_mark.line, value
    return None


def _dotted(loc: Loc) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")

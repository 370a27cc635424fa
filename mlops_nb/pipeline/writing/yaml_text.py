"""YAML as people read it, and back with the line of every key; safe-loaded, never executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.errors.pipelines import BadDefinition
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

Path: TypeAlias = "tuple[str | int, ...]"
"""Keys and positions from the top of a document down to a value."""

_WIDTH = 99
_LONGEST_LINE = 80
_LARGEST = 32_000_000
_PLAIN = frozenset({"str", "int", "float", "bool", "null", "timestamp", "binary", "seq", "map"})
_SEE_HELP = "Correct the file, or convert the notebook again."


@record
class Document:
    """A YAML file that has been read.

    Attributes
    ----------
    path
        The file, as the user wrote it.
    value
        Plain values.
    lines
        One-based line of each value, by its path.
    """

    path: str
    value: Any
    lines: Mapping[Path, int]

    def fault(
        self, where: Path, problem: str, remedy: str = "Correct it, or convert the notebook again."
    ) -> BadDefinition:
        """Make the error that names line and key."""
        line = self.lines.get(where, 0)
        known = where
        while not line and known:
            # A key that is missing has the line of what it is missing in.
            known = known[:-1]
            line = self.lines.get(known, 0)
        return BadDefinition(self.path, line, shown_key(where), problem, remedy)


def shown_key(where: Path) -> str:
    """Write the path of a value as people do.

    Examples
    --------
    >>> shown_key(("steps", 2, "after"))
    'steps[2].after'
    """
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def write_yaml(document: Mapping[str, Any]) -> str:
    """Write plain values: keys in their order, short lists of words on one line.

    The emitter is the one in Python, on every machine: the C library breaks lines elsewhere.
    """
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            del indentless  # a list stands further in than its key
            return super().increase_indent(flow, False)

    def sequence(dumper: Any, items: list[Any]) -> Any:
        flow = _is_short(items)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)

    def mapping(dumper: Any, items: dict[str, Any]) -> Any:
        flow = _is_short([*items, *items.values()])
        return dumper.represent_mapping("tag:yaml.org,2002:map", items.items(), flow_style=flow)

    Dumper.add_representer(list, sequence)
    Dumper.add_representer(dict, mapping)
    text: str = yaml.dump(
        dict(document),
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=_WIDTH,
    )
    return text


def _is_short(items: list[Any]) -> bool:
    """Say whether plain values fit on one line beside each other; names in a unit do, too."""
    if any(isinstance(item, dict) for item in items):
        return False
    if any(isinstance(item, list) and not _is_short(item) for item in items):
        return False
    return sum(len(str(item)) + 2 for item in items) <= _LONGEST_LINE


def read_yaml(text: str, path: str) -> Document:
    """Read plain values, and remember where each stands.

    Raises
    ------
    BadDefinition
        It is no YAML, or has what no file of ours has: doubled keys, anchors, tags.
    """
    import yaml

    if len(text) > _LARGEST:
        raise BadDefinition(path, 0, "", "it is far too long for a pipeline", _SEE_HELP)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    reader = _Reader(path)
    try:
        node = yaml.compose(text, Loader=loader)
        value = None if node is None else reader.value_of(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = f"it is not YAML ({error.problem or error.context or 'unreadable'})"
        raise BadDefinition(path, line, "", problem, _SEE_HELP) from None
    except BadDefinition:
        raise
    except (yaml.YAMLError, ValueError) as error:
        problem = f"it is not YAML ({' '.join(str(error).split())[:200]})"
        raise BadDefinition(path, 0, "", problem, _SEE_HELP) from None
    except RecursionError:
        problem = "it is nested too deeply"
        raise BadDefinition(path, 0, "", problem, _SEE_HELP) from None
    return Document(path, value, reader.lines)


class _Reader:
    """Turns nodes into plain values."""

    def __init__(self, path: str) -> None:
        import yaml

        self._path, self._yaml = path, yaml
        self._scalars = yaml.SafeLoader("")
        self._seen: set[int] = set()
        self.lines: dict[Path, int] = {}

    def value_of(self, node: Any, where: Path) -> Any:
        """Give the value of a node; an anchor could stand for millions of others."""
        line = node.start_mark.line + 1
        self.lines.setdefault(where, line)
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN:
            raise self._fault(where, line, f"{node.tag} is no plain value")
        if not isinstance(node, self._yaml.ScalarNode):
            if id(node) in self._seen:
                raise self._fault(where, line, "it is a reference to another part (*anchor)")
            self._seen.add(id(node))
        if isinstance(node, self._yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, self._yaml.SequenceNode):
            return [self.value_of(item, (*where, i)) for i, item in enumerate(node.value)]
        return self._scalars.construct_object(node, deep=True)

    def _mapping(self, node: Any, where: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, self._yaml.ScalarNode):
                raise self._fault(where, line, "a key is no text")
            # A name such as `on` is a text here, whatever YAML would make of it.
            key = str(key_node.value)
            if key in found:
                raise self._fault((*where, key), line, "it stands here twice")
            self.lines[*where, key] = line
            found[key] = self.value_of(value_node, (*where, key))
        return found

    def _fault(self, where: Path, line: int, problem: str) -> BadDefinition:
        remedy = "Correct it, or convert the notebook again."
        return BadDefinition(self._path, line, shown_key(where), problem, remedy)

"""What code a step runs: its cells, what of the prelude it needs, definitions, derived values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.pipeline.caching.statements import Piece, cell_digest, mentions_of, pieces_of
from mlops_nb.record import record
from mlops_nb.source import analyse

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.model.pipelines import Pipeline, Step


@record
class StepCode:
    """The code of a step as digests.

    Attributes
    ----------
    cells
        Of its cells, in order.
    prelude, parameter_cells
        Of the statements that it needs of those cells, in order.
    definitions
        By name, of what it takes from other steps as source.
    params
        Names of parameters that it may read, with the expression of their value in the notebook;
        None where that is not a plain assignment.
    texts
        All of that as source, to look for imports and variables in.
    """

    cells: tuple[str, ...]
    prelude: tuple[str, ...]
    parameter_cells: tuple[str, ...]
    definitions: Mapping[str, str]
    params: Mapping[str, ast.expr | None]
    texts: tuple[str, ...]


def code_of_step(
    pipeline: Pipeline, step: Step, sources: Mapping[int, str], *, is_open: bool
) -> StepCode:
    """Find the code that a step runs.

    Parameters
    ----------
    pipeline, step
        The plan, and the step in it.
    sources
        Text of cells by position.
    is_open
        Whether its inputs may call any function of the notebook: then all of the prelude counts.
    """
    own = [sources[index] for index in step.cells]
    definitions = _definitions(pipeline, step, sources)
    prelude = [sources[index] for index in pipeline.prelude]
    parameter_cells = [sources[index] for index in pipeline.parameter_cells]
    given = [*own, *(source for _, source in definitions.values())]
    is_open = is_open or any(analyse(source).is_dynamic for source in (*given, *prelude))
    needed = _Needed(given, step.params, is_open=is_open)
    # What the prelude keeps may need derived values and parameters, and the other way round.
    kept = needed.choose(prelude, parameter_cells, {each.name for each in pipeline.parameters})
    return StepCode(
        tuple(map(cell_digest, own)),
        kept[0],
        kept[1],
        {name: digest for name, (digest, _) in definitions.items()},
        needed.params,
        (*given, *prelude, *parameter_cells),
    )


class _Needed:
    """Names that a step may read, growing with each statement that is kept for them."""

    def __init__(self, given: Iterable[str], names: Iterable[str], *, is_open: bool) -> None:
        self._is_open = is_open
        self._names = set(names).union(*map(mentions_of, given))
        self.params: dict[str, ast.expr | None] = {}

    def choose(
        self, prelude: Sequence[str], parameter_cells: Sequence[str], parameters: set[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the digests of the statements that are needed of both."""
        groups = [list(_statements(cells)) for cells in (prelude, parameter_cells)]
        pieces = [piece for group in groups for piece in group]
        kept = self._kept(pieces)
        values = {
            place
            for place in kept
            if place >= len(groups[0]) and _is_value_of(pieces[place], parameters)
        }
        for place in sorted(kept):
            for name in parameters.intersection(pieces[place].binds):
                self.params[name] = pieces[place].default if place in values else None
        for name in sorted(parameters & self._names):
            self.params.setdefault(name, None)
        digests = {place: pieces[place].digest for place in sorted(kept - values)}
        first = tuple(digest for place, digest in digests.items() if place < len(groups[0]))
        return first, tuple(digests.values())[len(first) :]

    def _kept(self, pieces: Sequence[Piece]) -> set[int]:
        """Choose statements until none of those left out binds a name that one of them reads."""
        kept: set[int] = set()
        while True:
            more = {p for p, piece in enumerate(pieces) if p not in kept and self._needs(piece)}
            if not more:
                return kept
            kept |= more
            self._names = self._names.union(*(pieces[place].mentions for place in more))

    def _needs(self, piece: Piece) -> bool:
        return self._is_open or not piece.may_go or not self._names.isdisjoint(piece.binds)


def _is_value_of(piece: Piece, parameters: set[str]) -> bool:
    """Say whether a statement does nothing but give a parameter its value."""
    return piece.default is not None and len(piece.binds) == 1 and piece.binds[0] in parameters


def _statements(cells: Sequence[str]) -> Iterator[Piece]:
    for source in cells:
        pieces = pieces_of(source)
        if pieces is None:
            yield Piece(cell_digest(source), (), mentions_of(source))
        else:
            yield from pieces


def _definitions(
    pipeline: Pipeline, step: Step, sources: Mapping[int, str]
) -> dict[str, tuple[str, str]]:
    """Find what binds each needed definition last before the step: its digest, and its cell."""
    found: dict[str, tuple[str, str]] = {}
    wanted = set(step.definitions)
    before = [index for each in _before(pipeline, step) for index in each.cells]
    for index in sorted({*pipeline.prelude, *before}) if wanted else ():
        source = sources[index]
        for piece in pieces_of(source) or ():
            for name in wanted.intersection(piece.binds):
                found[name] = (piece.digest, source)
    for name in wanted - found.keys():  # bound in a way that no single statement shows
        source = "\n".join(sources[index] for index in sorted({*pipeline.prelude, *before}))
        found[name] = (cell_digest(source), source)
    return {name: found[name] for name in step.definitions}


def _before(pipeline: Pipeline, step: Step) -> Iterator[Step]:
    for other in pipeline.steps:
        if other.name == step.name:
            return
        yield other

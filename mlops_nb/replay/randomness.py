"""Chance that no seed holds: found in sources and parameters, without running anything."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mlops_nb.replay.trees import trees_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.model import Run

_SEEDS = frozenset(
    {
        "seed",
        "manual_seed",
        "manual_seed_all",
        "set_seed",
        "set_random_seed",
        "seed_everything",
        "set_state",
        "setstate",
        "set_rng_state",
    }
)
_MODULES = ("np.random", "numpy.random", "random", "torch", "cupy.random", "cp.random")
_TORCH = frozenset({"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"})
_HARMLESS = frozenset({"default_rng", "RandomState", "Generator", "SeedSequence", "Random"})
_MAKERS = frozenset({"default_rng", "RandomState", "Random", "SeedSequence"})
# Functions and classes of scikit-learn that draw unless told otherwise.
_DRAWING = frozenset({"train_test_split", "resample", "ShuffleSplit", "StratifiedShuffleSplit"})
_DRAWN = frozenset({"shuffle", "make_classification", "make_regression", "make_blobs"})
_RANDOM_MODELS = re.compile(
    r"(RandomForest|ExtraTree|GradientBoosting|Bagging|AdaBoost|DecisionTree|IsolationForest"
    r"|MLP|SGD|KMeans|RandomizedSearch|GaussianMixture|Perceptron|PassiveAggressive"
    r"|RandomTreesEmbedding|TSNE|NMF|SparsePCA|DictionaryLearning|LatentDirichlet)"
)


def unseeded_calls(source: str) -> tuple[str, ...]:
    """Name the calls of a cell that draw without a seed of their own.

    Examples
    --------
    >>> unseeded_calls("x = np.random.rand(3); rng = np.random.default_rng(0)")
    ('np.random.rand',)
    >>> unseeded_calls("train_test_split(X, y, random_state=1)")
    ()
    """
    return tuple(dict.fromkeys(name for name, kind in _calls(source) if kind != "seed"))


def first_unseeded(sources: Sequence[str]) -> tuple[int, str] | None:
    """Find the first cell that draws while no generator has been seeded.

    Returns
    -------
    tuple of (int, str) or None
        Its place among the sources, and the call. A generator made without a seed draws anew
        whatever was seeded before.
    """
    is_seeded = False
    for place, source in enumerate(sources):
        for name, kind in _calls(source):
            if kind == "seed":
                is_seeded = True
            elif kind == "fresh" or not is_seeded:
                return place, name
    return None


def seeds_anywhere(sources: Sequence[str]) -> bool:
    """Say whether any cell seeds a generator of the process."""
    return any(kind == "seed" for source in sources for _, kind in _calls(source))


def random_fits(runs: Sequence[Run]) -> Iterator[tuple[str, str, bool]]:
    """Give each model fitted with ``random_state`` None: execution, class, is it known to draw."""
    for run in runs:
        open_ = {
            param.fit
            for key, param in run.params.items()
            if key.rpartition("__")[2] == "random_state" and param.value is None
        }
        for model in run.models:
            if model.fit in open_:
                name = model.class_name.rpartition(".")[2]
                yield model.execution or "", name, _RANDOM_MODELS.search(name) is not None


def _calls(source: str) -> list[tuple[str, str]]:
    """List calls that have to do with chance, in order, as ``seed``, ``draw`` or ``fresh``."""
    calls = []
    for tree in trees_of(source):
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls += sorted(found, key=lambda node: (node.lineno, node.col_offset))
    named = ((name, _kind(name, node)) for node in calls if (name := _dotted(node.func)))
    return [(name, kind) for name, kind in named if kind]


def _kind(name: str, call: ast.Call) -> str:
    owner, _, tail = name.rpartition(".")
    if tail in _SEEDS:
        return "seed" if call.args or call.keywords or tail.startswith("set") else "draw"
    has_seed = any(keyword.arg in {"random_state", "seed", None} for keyword in call.keywords)
    if tail in _MAKERS and (owner in {*_MODULES, ""}):
        return "" if call.args or has_seed else "fresh"
    if tail in _DRAWING or (tail in _DRAWN and owner not in _MODULES):
        return "" if has_seed else "draw"
    if owner == "torch":
        return "draw" if tail in _TORCH else ""
    return "draw" if owner in _MODULES and tail not in _HARMLESS else ""


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return parts[0] if parts else ""
    return ".".join([node.id, *reversed(parts)])

"""Parameters as what tells one value from another: typed, the same in every process."""

from __future__ import annotations

import ast
import hashlib
import json
from typing import TYPE_CHECKING

from mlops_nb.packaging.fitting import Unfit
from mlops_nb.packaging.plain import encode
from mlops_nb.pipeline.caching.secret import keyed
from mlops_nb.redact.assigned import is_telling
from mlops_nb.source.normal import normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import Step

_SHOWN = 200


def parameter_part(
    step: Step, read: Mapping[str, ast.expr | None], given: Mapping[str, object]
) -> dict[str, Json]:
    """Describe the parameters that a step may read.

    Parameters
    ----------
    step
        The step, whose options may name secrets.
    read
        Names, with the expression of the value in the notebook.
    given
        Values that count instead.

    Returns
    -------
    dict
        By name: ``{"value": …}`` as `packaging` writes plain values, ``{"digest": …}`` for a long
        one or one of another kind, ``{"secret": …}``, or ``{"code": …}`` for an expression.
    """
    found: dict[str, Json] = {}
    for name in sorted(read):
        expression = read[name]
        if name in given:
            part = _value_part(given[name])
        elif expression is not None:
            part = _expression_part(expression)
        else:
            part = {"code": ""}  # what binds it is among the statements that are kept
        is_secret = name in step.options.secrets or is_telling(name) is not False
        found[name] = {"secret": keyed(name, part)} if is_secret else part
    return found


def _expression_part(expression: ast.expr) -> dict[str, Json]:
    try:
        return _value_part(ast.literal_eval(expression))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {"code": normalised(expression)}


def _value_part(value: object) -> dict[str, Json]:
    try:
        document = _in_order(encode(value))
    except Unfit:
        return {"digest": _fingerprint(value)}
    text = json.dumps(document, separators=(",", ":"), sort_keys=False)
    if len(text) <= _SHOWN:
        return {"value": document}
    return {"digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}


def _fingerprint(value: object) -> str:
    """Identify a value of any kind; one that cannot be told from others is like no other."""
    from mlops_nb.fingerprint import fingerprint
    from mlops_nb.model import new_record_id

    found = fingerprint(value)
    if found.assurance != "exact":
        return f"unknown:{new_record_id()}"
    return f"{found.kind} {found.digest} {found.schema_digest}"


def _in_order(document: Json) -> Json:
    """Write what has no order in one, and what has one so that it counts.

    The order of a set is another one in each process; that of a dict is seen by a loop over it.
    """
    if isinstance(document, list):
        return [_in_order(each) for each in document]
    if not isinstance(document, dict):
        return document
    inside = {name: _in_order(each) for name, each in document.items()}
    if "$" not in inside:
        pairs = [[name, each] for name, each in inside.items()]
        return {"$": "dict", "v": pairs} if len(pairs) > 1 else inside
    if inside["$"] in {"set", "frozenset"}:
        inside["v"] = sorted(inside["v"], key=json.dumps)
    return inside

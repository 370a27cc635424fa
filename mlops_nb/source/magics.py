"""What IPython's magics do to names, as far as their text says.

In transformed source a magic is a call of ``get_ipython().run_line_magic(name, line)``; its line
or body may be Python, text, or something nobody can know.
"""

from __future__ import annotations

import ast
import re

from mlops_nb.record import record

# These run their text as Python in the notebook's namespace; `timeit` and `memit` in a function.
_RUNS_PYTHON = frozenset({"time", "prun", "capture", "mprun", "memit", "lprun", "timeit"})
_BINDS_NOTHING = frozenset({"timeit", "memit"})
_NO_NAMES = """
! HTML SVG alias autoawait autoindent automagic bash bookmark cat cd clear code_wrap colors
conda config cp dhist dirs doctest_mode env file gui hist history html javascript js latex  ldir
less lf lk ll logoff logon logstart logstate logstop ls lsmagic lx mamba man markdown
matplotlib micromamba mkdir more mv notebook page pdb pdef pdoc perl pfile pinfo pinfo2 pip
popd pprint precision psearch psource pushd pwd quickref rehashx rm rmdir ruby save script
set_env sh svg sx system tb unalias uv who who_ls whos writefile xmode autoreload aimport
system getoutput mlops_board mlops_compare mlops_data mlops_diff mlops_doctor mlops_env
mlops_lineage mlops_runs mlops_show mlops_step mlops_track
"""
# These cannot bind a name of the notebook, other than the one after --out.
_HARMLESS = frozenset(_NO_NAMES.split())
_EXPANDED = re.compile(r"\{\s*([^\W\d]\w*)|\$([^\W\d]\w*)")
_WORD = re.compile(r"(?<![\w.'\"])([^\W\d]\w*)(?!\w*\s*=[^=])")
_OUT = re.compile(r"--(?:out|err|proc)[ =]([^\W\d]\w*)")


@record
class Magic:
    """One call of a magic: ``%name line`` or ``%%name line`` with a body.

    Attributes
    ----------
    python
        Text that it runs as Python, None if it runs none.
    first_line
        Offset of that text's first line from the line of the magic.
    reads, binds
        Names that its other text reads and binds.
    """

    name: str
    is_dynamic: bool
    python: str | None = None
    first_line: int = 0
    is_contained: bool = False
    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()


def find_magic(call: ast.Call) -> Magic | None:
    """Read a call as a magic, None if it is none."""
    function = call.func
    if not (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        return None
    texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if len(texts) != len(call.args) or not all(isinstance(text, str) for text in texts):
        return None
    return _read_magic(function.attr, [str(text) for text in texts])


def _read_magic(method: str, texts: list[str]) -> Magic | None:
    if method in {"system", "getoutput"} and len(texts) == 1:
        return Magic("!", is_dynamic=False, reads=_expanded(texts[0]))
    if method == "run_line_magic" and len(texts) == 2:  # noqa: PLR2004 - name and line
        return _line_magic(*texts)
    if method == "run_cell_magic" and len(texts) == 3:  # noqa: PLR2004 - name, line and body
        return _cell_magic(*texts)
    return None


def _line_magic(name: str, line: str) -> Magic:
    if name in _RUNS_PYTHON:
        return Magic(
            f"%{name}",
            is_dynamic=False,
            python=_without_options(line),
            is_contained=name in _BINDS_NOTHING,
        )
    if name.startswith("mlops_") and name not in _HARMLESS:
        return Magic(f"%{name}", is_dynamic=False, reads=tuple(dict.fromkeys(_WORD.findall(line))))
    return Magic(
        f"%{name}",
        is_dynamic=name not in _HARMLESS,
        reads=_expanded(line),
        binds=tuple(_OUT.findall(line)),
    )


def _cell_magic(name: str, line: str, body: str) -> Magic:
    is_known = name in _RUNS_PYTHON or name.startswith("mlops_")
    if name in _HARMLESS and not name.startswith("mlops_"):
        return Magic(
            f"%%{name}",
            is_dynamic=False,
            reads=_expanded(line),
            binds=tuple(_OUT.findall(line)),
        )
    return Magic(
        f"%%{name}",
        is_dynamic=not is_known,
        python=body,
        first_line=1,
        is_contained=name in _BINDS_NOTHING,
        reads=_expanded(line),
        binds=_bound_by_capture(line) if name == "capture" else (),
    )


def _bound_by_capture(line: str) -> tuple[str, ...]:
    return tuple(word for word in line.split()[:1] if word.isidentifier())


def _without_options(line: str) -> str:
    """Drop ``-n 10 -o`` in front of the code of ``%timeit``."""
    return re.sub(r"^(\s*-(?:[nrtlsTDpfm]\s*\S+|[a-zA-Z]+))+\s+", "", line.strip())


def _expanded(text: str) -> tuple[str, ...]:
    """Names in ``$name`` and ``{name…}``, which IPython replaces by their values."""
    return tuple(dict.fromkeys(brace or dollar for brace, dollar in _EXPANDED.findall(text)))

"""The magics: parse, call one thing, show it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from mlops_nb import api
from mlops_nb import session as sessions
from mlops_nb.errors import BadExpression, MlopsNbError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from mlops_nb.display import ComparisonView, RunsView, RunView, View
    from mlops_nb.display.difference import DifferenceView
    from mlops_nb.display.doctor import DiagnosisView
    from mlops_nb.display.editing import EditsView
    from mlops_nb.display.lineage import LineageView
    from mlops_nb.display.replay import ReplayView, RestoredView
    from mlops_nb.session import Session

# Magics whose cell runs as any other cell does, with the line that then stands in its place.
_OPENED = {"%%mlops_track": "%mlops_track --cell", "%%mlops_step": "%mlops_step"}


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _tags(pairs: list[str] | None) -> dict[str, str]:
    tags = {}
    for pair in pairs or []:
        key, _, value = pair.partition("=")
        tags[key.strip()] = value.strip() or "true"
    return tags


def open_cell_runs(lines: list[str]) -> list[str]:
    """Turn a cell that begins with ``%%mlops_track`` or ``%%mlops_step`` into body and line magic.

    The body then runs as any cell does: same line numbers, last expression shown, top-level
    ``await``, exceptions unchanged. A body that is a cell magic itself stays nested.
    """
    if not lines or not lines[0].startswith(tuple(_OPENED)) or not lines[0].endswith("\n"):
        return lines
    word, _, line = lines[0].strip().partition(" ")
    is_nested = "".join(lines[1:]).lstrip().startswith("%%")
    if word not in _OPENED or is_nested or _asks_help(line):
        return lines
    return [f"{_OPENED[word]} {line.strip()}".rstrip() + "\n", *lines[1:]]


def _asks_help(line: str) -> bool:
    return bool({"-h", "--help"} & set(line.split())) or line.strip().startswith("?")


def one_line_errors(method: Callable[..., object]) -> Callable[..., object]:
    """Show our own errors as one line, without a traceback of ours, and stop the cell."""
    import functools

    @functools.wraps(method)
    def wrapped(self: MlopsMagics, *args: str, **kwargs: str) -> object:
        try:
            return method(self, *args, **kwargs)
        except MlopsNbError as error:
            shown = [f"{type(error).__name__}: {error}"]
            # IPython's own protocol for exceptions that know how to show themselves.
            error._render_traceback_ = lambda: shown  # type: ignore[attr-defined]
            raise

    return wrapped


_EDITS = {
    "rename": "RUN NAME [--since REVISION]: give a run another name; '' the recorded one",
    "note": "RUN [--append] TEXT [--since REVISION]: write a note on a run; RUN --remove",
    "tag": "RUN K[=V] ... [--since REVISION]: set tags of any run",
    "untag": "RUN K ... [--since REVISION]: take tags away from a run",
    "star": "RUN ... [--query QUERY]: mark runs, to find them with the query starred",
    "unstar": "RUN ... [--query QUERY]: take the mark of runs away",
    "archive": "RUN ... [--query QUERY]: put runs away, out of lists, names and comparisons",
    "unarchive": "RUN ... [--query QUERY]: take runs out of the archive",
    "delete": "RUN ... [--query QUERY]: delete runs; undelete brings them back",
    "undelete": "RUN ...: bring deleted runs back, with all they had",
}


def _editing(verb: str) -> Any:
    """Make a magic that changes runs; ten argument parsers would take longer than all the rest."""

    def magic(_: MlopsMagics, line: str) -> EditsView | None:
        from mlops_nb.api.edit_lines import edit_by_line

        if not _asks_help(line):
            return edit_by_line(verb, line, usage)
        import sys

        sys.stdout.write(f"{usage}\n")
        return None

    usage = f"%mlops_{verb} {_EDITS[verb]}"
    magic.__name__, magic.__doc__ = f"mlops_{verb}", usage
    return line_magic(one_line_errors(magic))


# What works without loading `pipeline_magics`: the name, and a line for lists of magics.
_PIPELINES = {
    "schedule": "CRON [--tz ZONE] [-p K=V] …: run this notebook by itself, as '0 6 * * 1'",
    "graph": "[NOTEBOOK] [--why VALUE STEP]: draw its steps, and why each comes after another",
    "run": "[NOTEBOOK] [-p K=V] [-j N] [--from STEP] …: run its steps, those that have to",
    "convert": "NOTEBOOK [-o DIR] [--verify] …: write it as a pipeline of notebooks",
    "step": "NAME [--after STEP] [--retry N] …: begin a step of a pipeline in this cell",
}


def _of_pipelines(verb: str, kind: Callable[[Any], Any] = line_magic) -> Any:
    """Make the stub of a magic of pipelines, which loads them when it is used or asked about."""

    def magic(self: MlopsMagics, line: str, cell: str | None = None) -> object:
        from mlops_nb.pipeline_magics import PipelineMagics

        found = getattr(PipelineMagics(self.shell), name)
        return found(line) if cell is None else found(line, cell)

    def getdoc() -> str:
        from mlops_nb.pipeline_magics import PipelineMagics

        return str(getattr(PipelineMagics, name).__doc__)

    name = f"mlops_{verb}"
    magic.__name__, magic.__doc__ = name, f"%{name} {_PIPELINES[verb]}"
    stub: Any = one_line_errors(magic)
    stub.getdoc = getdoc  # what IPython shows for `%name?`
    return kind(stub)


@magics_class
class MlopsMagics(Magics):
    """The line and cell magics of mlops_nb."""

    @magic_arguments()
    @argument("name", nargs="?", help="names the next runs, and makes them attempts of one group")
    @argument("--experiment", "-e", help="experiment that the runs belong to")
    @argument("--tag", "-t", action="append", metavar="K=V", help="tag of the next runs")
    @argument("--params", help="variables to keep as parameters of every run: a,b")
    @argument("--notebook", help="path of this notebook, where it cannot be found")
    @argument("--off", action="store_true", help="turn tracking off")
    @argument("--status", action="store_true", help="say what is tracked")
    @argument("--batch", action="store_true", default=None, help="the whole notebook is one run")
    @argument(
        "--interactive", dest="batch", action="store_false", help="runs are born of evidence"
    )
    @argument("--metrics", help="with %%%%: variables to keep as metrics of this run: a,b")
    @argument("--data", help="with %%%%: variables to keep as data of this run: a,b")
    @argument("--model", help="with %%%%: variable that holds the model of this run")
    @argument("--quiet", "-q", action="store_true", help="show no card")
    @argument("--cell", action="store_true", help="(used by %%%%mlops_track) this cell is a run")
    @line_cell_magic
    @one_line_errors
    def mlops_track(self, line: str, cell: str | None = None) -> object:
        """Turn tracking on; with two percent signs, make this cell a run."""
        given = parse_argstring(self.mlops_track, line)
        if given.off:
            sessions.stop_session()
            return None
        if cell is not None or given.cell:
            return self._track_cell(given, cell)
        if given.status:
            return self._status()
        session = sessions.start_session(
            self.shell, notebook=given.notebook, quiet=given.quiet or None, batch=given.batch
        )
        _configure(session, given)
        return None

    def _status(self) -> DiagnosisView:
        from mlops_nb.doctor import examine

        return examine()

    def _track_cell(self, given: argparse.Namespace, cell: str | None) -> object:
        session = sessions.start_session(
            self.shell, notebook=given.notebook, quiet=given.quiet or None
        )
        asked = sessions.CellRun(
            tags=_tags(given.tag),
            params=_names(given.params),
            metrics=_names(given.metrics),
            data=_names(given.data),
            model=given.model,
        )
        session.open_cell_run(given.name, asked)
        if cell is not None:
            # The body is itself a cell magic: it runs nested, and its error is raised again here.
            self.shell.run_cell(cell).raise_error()
        return None

    @magic_arguments()
    @argument("--step", type=int, help="of the metrics")
    @argument("--param", action="store_true", help="keep as parameters")
    @argument("--artifact", metavar="PATH", help="keep a copy of a file")
    @argument("--figure", action="store_true", help="keep the current matplotlib figure")
    @argument("--table", metavar="VAR", help="keep a DataFrame or a list of dictionaries")
    @argument("values", nargs="*", metavar="k=expr", help="names and expressions")
    @line_magic
    @one_line_errors
    def mlops_log(self, line: str) -> None:
        """Log by hand; expressions are evaluated in the notebook's namespace."""
        options, expressions = _split_assignments(line)
        given = parse_argstring(self.mlops_log, options)
        tracker = sessions.start_session(self.shell).tracker
        values = {key: self._evaluate(text) for key, text in expressions}
        if given.param:
            for key, value in values.items():
                tracker.log_param(key, value)
        elif values:
            tracker.log(values, step=given.step)
        if given.artifact:
            tracker.log_artifact(given.artifact)
        if given.figure:
            tracker.log_figure()
        if given.table:
            tracker.log_table(self._evaluate(given.table), name=given.table)

    # `$var` belongs to the expression here, so IPython must not expand it.
    mlops_log._ipython_magic_no_var_expand = True  # noqa: SLF001

    def _evaluate(self, text: str) -> object:
        try:
            compile(text, "<mlops_log>", "eval")
        except SyntaxError as error:
            raise BadExpression(text, str(error.msg)) from None
        return self.shell.ev(text)

    @magic_arguments()
    @argument("query", nargs="*", help="params.lr > 0.01 and metrics.auc >= 0.9")
    @argument("--limit", type=int, default=50, help="most rows")
    @argument("--archived", action="store_true", help="archived ones too")
    @line_magic
    @one_line_errors
    def mlops_runs(self, line: str) -> RunsView:
        """List runs, newest first."""
        limit, query = _take_option(line, "--limit")
        archived, query = _take_flag(query, "--archived")
        if _asks_help(line):
            parse_argstring(self.mlops_runs, "-h")
        return api.runs(query or None, limit=int(limit) if limit else 50, archived=archived)

    @magic_arguments()
    @argument("runs", nargs="*", help="id, beginning of one, name, @-1, @best:METRIC, tag:NAME")
    @argument("--query", help="select runs by a query")
    @argument("--baseline", "-b", help="run that differences are counted from")
    @argument("--sort", "-s", help="metric to sort by")
    @argument("--all", "-a", action="store_true", help="also parameters that agree")
    @argument("--limit", type=int, default=50, help="most runs")
    @line_magic
    @one_line_errors
    def mlops_compare(self, line: str) -> ComparisonView:
        """Compare runs: what differs, what came out, which is best."""
        given = parse_argstring(self.mlops_compare, line)
        return api.compare(
            *map(_unquoted, given.runs),
            query=given.query and given.query.strip("\"'"),
            baseline=_unquoted(given.baseline),
            sort_by=given.sort,
            all_params=given.all,
            limit=given.limit,
        )

    @magic_arguments()
    @argument("run", nargs="?", default="@-1", help="id, beginning of one, name, @-1, …")
    @argument("--data", action="store_true", help="only the data that went into it")
    @argument("--env", action="store_true", help="only the packages and the machine")
    @argument("--resources", action="store_true", help="only time and memory")
    @argument("--errors", action="store_true", help="only what went wrong")
    @line_magic
    @one_line_errors
    def mlops_show(self, line: str) -> RunView:
        """Show everything that is kept of one run."""
        given = parse_argstring(self.mlops_show, line)
        wanted = ("data", "env", "resources", "errors")
        sections = tuple(name for name in wanted if getattr(given, name))
        return api.show(_unquoted(given.run), sections=sections)

    @magic_arguments()
    @argument("run", nargs="?", default="@-1", help="id, beginning of one, name, @-1, …")
    @argument(
        "--output", "-o", metavar="PATH", help="the notebook; restored-RUN.ipynb if left out"
    )
    @argument("--outputs", action="store_true", help="also what the cells showed")
    @argument("--force", action="store_true", help="overwrite a file that is there")
    @line_magic
    @one_line_errors
    def mlops_restore(self, line: str) -> RestoredView:
        """Write the recorded cells of a run as a notebook, in the order in which they ran."""
        given = parse_argstring(self.mlops_restore, line)
        return api.restore_to(
            _unquoted(given.run), _unquoted(given.output), outputs=given.outputs, force=given.force
        )

    @magic_arguments()
    @argument("run", nargs="?", default="@-1", help="id, beginning of one, name, @-1, …")
    @argument("--trust", action="store_true", help="run cells that you may not have recorded")
    @argument("--output", "-o", metavar="PATH", help="the executed notebook")
    @line_magic
    @one_line_errors
    def mlops_replay(self, line: str) -> ReplayView:
        """Run a run's cells again in a fresh kernel, and compare all data and metrics."""
        from mlops_nb.replay import Watcher

        given = parse_argstring(self.mlops_replay, line)
        watcher = Watcher(on_progress=_shown_progress(given.run), ask=_ask_user)
        return api.replay(
            _unquoted(given.run),
            trust=given.trust,
            output=_unquoted(given.output),
            watcher=watcher,
        )

    @magic_arguments()
    @argument("a", metavar="A", help="run: id, beginning of one, name, @-1, @best:METRIC, …")
    @argument("b", metavar="B", nargs="?", default="@-1", help="the other one, or the newest")
    @line_magic
    @one_line_errors
    def mlops_diff(self, line: str) -> DifferenceView:
        """Say why run B is different from run A, the most likely cause first."""
        given = parse_argstring(self.mlops_diff, line)
        return api.diff(_unquoted(given.a), _unquoted(given.b))

    @magic_arguments()
    @argument("action", choices=("fingerprint", "profile", "diff"), help="what to say of it")
    @argument(
        "names", nargs="+", metavar="NAME", help="variable, .csv or .parquet file, or RUN:NAME"
    )
    @line_magic
    @one_line_errors
    def mlops_data(self, line: str) -> View:
        """Say what data is: its identity, its statistics, or what differs from other data."""
        from mlops_nb.display.asking import view_data

        given = parse_argstring(self.mlops_data, line)
        names = tuple(name.strip("\"'") for name in given.names)
        return view_data(
            given.action, names, namespace=self.shell.user_ns, open_store=api.open_store
        )

    @magic_arguments()
    @argument("action", nargs="?", choices=("show", "diff", "lock"), default="show")
    @argument(
        "runs", nargs="*", metavar="RUN", help="of show and lock, else of this session; diff A [B]"
    )
    @argument("--output", "-o", metavar="PATH", help="the lock file; pylock.toml if left out")
    @argument(
        "--kind", choices=("pylock", "requirements"), help="of lock, else by the file's name"
    )
    @argument("--offline", action="store_true", help="a list of versions, no index is asked")
    @argument("--all", "-a", action="store_true", help="lock also what was not imported")
    @argument("--force", action="store_true", help="overwrite a file that is there")
    @line_magic
    @one_line_errors
    def mlops_env(self, line: str) -> View:
        """Show what this session or a run ran on, what differs, or write a lock of it."""
        given = parse_argstring(self.mlops_env, line)
        return api.env(
            given.action,
            *map(_unquoted, given.runs),
            output=_unquoted(given.output),
            kind=given.kind,
            offline=given.offline,
            all_packages=given.all,
            force=given.force,
        )

    @magic_arguments()
    @argument("what", help="a run, a file, a model's name, a metric, or a variable")
    @argument("--downstream", "-d", action="store_true", help="what came of it")
    @argument("--json", action="store_true", help="the whole graph, as text")
    @line_magic
    @one_line_errors
    def mlops_lineage(self, line: str) -> LineageView | None:
        """Draw where something came from, or what came of it, with the cells on the way."""
        given = parse_argstring(self.mlops_lineage, line)
        view = api.lineage(given.what.strip("\"'"), downstream=given.downstream)
        if not given.json:
            return view
        import sys

        from mlops_nb.documents import to_json

        sys.stdout.write(to_json(view.document()) + "\n")
        return None

    mlops_rename = _editing("rename")
    mlops_note = _editing("note")
    mlops_tag = _editing("tag")
    mlops_untag = _editing("untag")
    mlops_star = _editing("star")
    mlops_unstar = _editing("unstar")
    mlops_archive = _editing("archive")
    mlops_unarchive = _editing("unarchive")
    mlops_delete = _editing("delete")
    mlops_undelete = _editing("undelete")

    mlops_step = _of_pipelines("step", line_cell_magic)
    mlops_graph = _of_pipelines("graph")
    mlops_convert = _of_pipelines("convert")
    mlops_run = _of_pipelines("run")
    mlops_schedule = _of_pipelines("schedule")

    @line_magic
    @one_line_errors
    def mlops_doctor(self, line: str) -> DiagnosisView:  # noqa: ARG002  # the signature of a magic
        """Say what is captured, by whom, and how store and spool are."""
        return self._status()


def _unquoted(text: Any) -> Any:
    """Take off the quotes of a name with blanks, which IPython leaves on."""
    return text.strip("\"'") if isinstance(text, str) else text


def _shown_progress(run: str) -> Callable[[int, int, str], None]:
    """Show one line that moves with the cells of a replay; it is no part of the record."""
    import uuid

    from IPython.display import publish_display_data

    from mlops_nb.capture.outputs import OWN_METADATA
    from mlops_nb.display.replay import ReplayProgress

    transient = {"display_id": f"mlops-nb-replay-{uuid.uuid4().hex}"}
    ended = {"cells": 0, "shown": False}

    def on_progress(_index: int, total: int, what: str) -> None:
        ended["cells"] += what != "started"
        bundle = ReplayProgress(run, ended["cells"], total)._repr_mimebundle_()
        publish_display_data(bundle, OWN_METADATA, transient=transient, update=ended["shown"])
        ended["shown"] = True

    return on_progress


def _ask_user(sources: Sequence[str], why: str) -> bool:
    """Show what would run, and ask; where nobody can answer, that is a no."""
    import sys

    from mlops_nb.display.formats import clean

    for place, source in enumerate(sources, start=1):
        sys.stdout.write(f"--- cell {place} of {len(sources)}\n{clean(source)}\n")
    try:
        answer = input(f"You may not have recorded this: {why}. Run it? [y/N] ")
    except (EOFError, NotImplementedError):
        return False
    return answer.strip().lower() in {"y", "yes"}


def _configure(session: Session, given: argparse.Namespace) -> None:
    session.reconfigure(notebook=given.notebook, quiet=given.quiet or None)
    tracker = session.tracker
    if given.name:
        tracker.next_name = given.name
    if given.experiment:
        tracker.experiment = given.experiment
    if given.tag:
        tracker.next_tags = {**tracker.next_tags, **_tags(given.tag)}
    if given.params:
        tracker.param_names = _names(given.params)
    session.be_automatic()


_ASSIGNMENT = re.compile(r"(?:^|(?<=\s))([A-Za-z_][\w.]*)\s*=(?!=)\s*")


def _split_assignments(line: str) -> tuple[str, list[tuple[str, str]]]:
    """Split ``auc=f(x, y) lr = 0.1 --step 3`` into options and (name, expression) pairs.

    An expression ends where the longest text that compiles ends, so it may hold blanks.
    """
    options, rest = [], line.strip()
    pairs: list[tuple[str, str]] = []
    while rest:
        found = _ASSIGNMENT.match(rest)
        if found is None:
            word, _, rest = rest.partition(" ")
            options.append(word)
        else:
            expression, rest = _take_expression(rest[found.end() :])
            pairs.append((found[1], expression))
        rest = rest.strip()
    return " ".join(options), pairs


def _take_expression(text: str) -> tuple[str, str]:
    ends = [m.start() for m in re.finditer(r"\s+(?=--[a-z]|[A-Za-z_][\w.]*\s*=(?!=))", text)]
    for end in ends:
        if _is_expression(text[:end]):
            return text[:end].strip(), text[end:]
    return text.strip(), ""


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return False
    return True


def _take_flag(line: str, name: str) -> tuple[bool, str]:
    rest = re.sub(rf"(?:^|\s){name}(?=\s|$)", "", line).strip()
    return rest != line.strip(), rest


def _take_option(line: str, name: str) -> tuple[str | None, str]:
    found = re.search(rf"(?:^|\s){name}(?:\s+|=)(\S+)", line)
    if found is None:
        return None, line.strip()
    return found[1], (line[: found.start()] + line[found.end() :]).strip()

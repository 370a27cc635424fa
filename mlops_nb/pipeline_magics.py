"""The magics of pipelines, loaded when one of them is first used; `magics` has their stubs."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, overload

from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from mlops_nb import session as sessions
from mlops_nb.capture.guard import guard

if TYPE_CHECKING:
    from mlops_nb.api.running_pipelines import PipelineRun
    from mlops_nb.display.conversion import ConversionView
    from mlops_nb.display.pipelines import GraphView
    from mlops_nb.display.schedules import SchedulesView, ScheduleView


class PipelineMagics:
    """One method a magic, with the magic's whole name.

    Parameters
    ----------
    shell
        The IPython shell in which the line was typed.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    @magic_arguments()
    @argument("name", nargs="?", help="of the step that begins in this cell; none: the one above")
    @argument("--after", action="append", metavar="STEP", help="a step that comes before it")
    @argument("--retry", metavar="N", help="how often it is tried again")
    @argument("--timeout", metavar="SECONDS", help="after which it is killed")
    @argument("--when", metavar="CONDITION", help="as metrics.auc > live.auc")
    @argument("--foreach", metavar="VAR", help="run it once for each element of a value")
    @argument("--join", action="store_true", help="take the joined values of fanned-out steps")
    @argument("--no-cache", action="store_true", help="always run it")
    @argument("--output", metavar="VAR", help="keep a value as a result of the pipeline")
    @argument("--secret", metavar="VAR", help="never pass a value on to other steps")
    @argument("--gate", action="store_true", help="it decides about a deployment")
    @argument("--deploy", action="store_true", help="it deploys")
    @argument("--kernel", metavar="NAME", help="of the kernel that it runs in")
    @argument("--report", metavar="NAME", help="a report that it makes")
    @argument("--image", metavar="NAME", help="for engines that run containers")
    @argument("--limit", metavar="KEY=VALUE", help="for engines that know limits")
    @argument("--label", metavar="KEY=VALUE", help="for engines that know labels")
    @argument("--annotation", metavar="KEY=VALUE", help="for engines that know annotations")
    def mlops_step(self, line: str, cell: str | None = None) -> None:
        """Begin a step of a pipeline in this cell, as a tag would; here the cell runs as ever."""
        if {"-h", "--help"} & set(line.split()):
            sys.stdout.write(self.mlops_step.parser.format_help())
            return
        with guard("step"):
            self._read_step(line)
        if cell is not None:
            # The body is itself a cell magic: it runs nested, and its error is raised again here.
            self.shell.run_cell(cell).raise_error()

    @magic_arguments()
    @argument("notebook", nargs="?", help="its path; this notebook, as saved, if left out")
    @argument(
        "--split-on", choices=("tags", "h2", "cell"), default="tags", help="what begins a step"
    )
    @argument("--why", nargs=2, metavar=("VALUE", "STEP"), help="from where STEP has VALUE")
    def mlops_graph(self, line: str) -> GraphView | None:
        """Draw the steps of a notebook, with the reason of every edge; nothing is run."""
        from mlops_nb.api.pipelines import graph, why

        given = parse_argstring(self.mlops_graph, line)
        notebook = _unquoted(given.notebook) or self._notebook("graph")
        if given.why is None:
            return graph(notebook, split_on=given.split_on)
        value, step = map(_unquoted, given.why)
        sys.stdout.write(f"{why(notebook, value, step, split_on=given.split_on)}\n")
        return None

    @magic_arguments()
    @argument("notebook", nargs="?", help="its path; this notebook, as saved, if left out")
    @argument(
        "--output", "-o", metavar="DIR", help="the folder; named as the notebook if left out"
    )
    @argument(
        "--split-on", choices=("tags", "h2", "cell"), default="tags", help="what begins a step"
    )
    @argument("--name", help="of the pipeline; the notebook's if left out")
    @argument("--verify", action="store_true", help="prove that it gives what the notebook gives")
    @argument("--jobs", "-j", type=int, help="steps verified at once")
    @argument("--force", action="store_true", help="overwrite files edited by hand")
    def mlops_convert(self, line: str) -> ConversionView:
        """Write a notebook as a pipeline: pipeline.yaml, and one ordinary notebook a step."""
        from mlops_nb.api.pipelines import convert

        given = parse_argstring(self.mlops_convert, line)
        return convert(
            _unquoted(given.notebook) or self._notebook(),
            _unquoted(given.output),
            split_on=given.split_on,
            name=_unquoted(given.name),
            verify=given.verify,
            jobs=given.jobs,
            force=given.force,
        )

    @magic_arguments()
    @argument("notebook", nargs="?", help="with steps, or a pipeline's folder; none: this one")
    @argument("-p", "--param", action="append", metavar="K=V", help="a parameter")
    @argument("-j", "--jobs", type=int, default=1, metavar="N", help="steps that run at once")
    @argument("--from", dest="from_", default="", metavar="STEP", help="this step and those below")
    @argument("--until", default="", metavar="STEP", help="this step and those above")
    @argument("--only", action="append", metavar="STEP", help="this step alone")
    @argument(
        "--force", nargs="?", const=True, action="append", metavar="STEP", help="run it anew"
    )
    @argument(
        "--resume", nargs="?", const=True, default=False, metavar="RUN", help="go on with it"
    )
    @argument("--split-on", default="tags", choices=("tags", "h2", "cell"))
    @argument("--engine", default="local", metavar="NAME", help="where steps run")
    @argument("--fast", action="store_true", help="forked workers in place of kernels")
    @argument("--timeout", type=float, metavar="SECONDS", help="of each step that says none")
    @argument("--name", metavar="NAME", help="of the run")
    @argument("--store", metavar="PATH", help="where it is recorded")
    def mlops_run(self, line: str) -> PipelineRun:
        """Run a notebook with steps as a pipeline, as it was last saved; watched step by step."""
        from mlops_nb.api.running_pipelines import run_pipeline

        asked = parse_argstring(self.mlops_run, line)
        pairs = [text.partition("=") for text in asked.param or ()]
        forced = asked.force or []
        return run_pipeline(
            _unquoted(asked.notebook) or self._notebook("run"),
            {name.strip(): _unquoted(value) for name, _, value in pairs},
            jobs=asked.jobs,
            from_=asked.from_,
            until=asked.until,
            only=tuple(asked.only or ()),
            force=True if True in forced else tuple(forced),
            resume=asked.resume,
            split_on=asked.split_on,
            engine=asked.engine,
            fast=asked.fast,
            timeout_s=asked.timeout,
            name=asked.name,
            store=asked.store,
        )

    @magic_arguments()
    @argument("cron", nargs="*", help="as '0 6 * * 1' (Mondays at six) or @daily; none: list them")
    @argument("--tz", metavar="ZONE", help="as Europe/Brussels; this machine's if left out")
    @argument("--notebook", metavar="PATH", help="this notebook, as saved, if left out")
    @argument("--param", "-p", action="append", metavar="K=V", help="a parameter")
    @argument("--name", help="what to call it; the notebook's name if left out")
    @argument("--missed", default="once", help="times without a scheduler: skip, once or all")
    @argument("--overlap", default="skip", help="if the last still runs: skip, queue or allow")
    @argument("--replace", action="store_true", help="take the place of the one of this name")
    def mlops_schedule(self, line: str) -> ScheduleView | SchedulesView:
        """Run this notebook by itself whenever a cron expression says so; without one, list."""
        from mlops_nb.api.scheduling import schedule, schedules
        from mlops_nb.schedule import read_cron
        from mlops_nb.schedule.making import as_params

        given = parse_argstring(self.mlops_schedule, line)
        cron = " ".join(_unquoted(word) or "" for word in given.cron)
        if not cron:
            return schedules()
        return schedule(
            read_cron(cron).text,
            _unquoted(given.notebook) or self._notebook("schedule", "… --notebook "),
            tz=_unquoted(given.tz),
            params=as_params(_unquoted(pair) or "" for pair in given.param or ()),
            name=_unquoted(given.name),
            missed=given.missed,
            overlap=given.overlap,
            replace=given.replace,
        )

    def _notebook(self, verb: str = "convert", option: str = "") -> str:
        """Find the notebook in which the line was typed."""
        from mlops_nb.config import load_settings
        from mlops_nb.errors import BadNotebook
        from mlops_nb.notebook import detect_notebook

        session = sessions.active()
        if session is not None and session.notebook is not None:
            return str(session.notebook)
        path, _ = detect_notebook(load_settings(), None, self.shell.user_ns, os.environ)
        if path is None:
            problem = "it is not known which notebook this is"
            typed = f"%mlops_{verb}"
            raise BadNotebook(typed, problem, f"Give its path: {typed} {option}churn.ipynb")
        return path

    def _read_step(self, line: str) -> None:
        from mlops_nb.pipeline.step_lines import read_step_line
        from mlops_nb.pipeline.tags import read_tags

        said = read_step_line(f"%mlops_step {line}")
        if said is None:
            return
        found = read_tags(said.tags)
        if found.step:
            self._note(found.step)
        for problem in (*said.problems, *found.problems):
            _warn(f"%mlops_step: {problem}.")

    def _note(self, step: str) -> None:
        """Tag the runs that this cell bears with the step's name."""
        session = sessions.active()
        if session is None or session.tracker.batch is not None:
            return
        tracker = session.tracker
        before = tracker.next_tags
        tracker.next_tags = {**before, "step": step}

        def end(*_: object) -> None:
            self.shell.events.unregister("post_run_cell", end)
            kept = {key: value for key, value in tracker.next_tags.items() if key != "step"}
            tracker.next_tags = kept | {k: v for k, v in before.items() if k == "step"}

        self.shell.events.register("post_run_cell", end)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


@overload
def _unquoted(text: str) -> str: ...
@overload
def _unquoted(text: None) -> None: ...
def _unquoted(text: str | None) -> str | None:
    """Take off the quotes that keep a path with blanks together."""
    is_quoted = text is not None and len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if text is not None and is_quoted else text

"""Reads IPython's magics, commands of the system, and modules beside the notebook."""

from __future__ import annotations

import ast
import re
import shlex
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow import known
from mlops_nb.pipeline.dataflow.calls import Given
from mlops_nb.pipeline.dataflow.effects import STAR, Star
from mlops_nb.pipeline.dataflow.file_calls import FileCalls
from mlops_nb.pipeline.dataflow.local_modules import (
    builtins_hidden,
    keeps_state,
    module_names,
    seeds,
    text_beside,
)
from mlops_nb.pipeline.dataflow.paths import PACKAGES, module_files
from mlops_nb.pipeline.dataflow.values import UNKNOWN, Code, Frame, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.source.magics import Magic

_EXPANDED = re.compile(r"\{\s*([^\W\d]\w*)\s*\}|\$([^\W\d]\w*)")
_SHELLS = frozenset({"!", "%%bash", "%%sh", "%%script", "%%ruby", "%%perl", "%sx", "%system"})
_INSTALLS = re.compile(r"\s*(python\S*\s+-m\s+)?(pip3?|conda|mamba|uv)\b")
_SETS_SHELL_UP = frozenset({"%load_ext", "%reload_ext", "%autoreload", "%aimport", "%alias_magic"})


class MagicCalls(FileCalls):
    """Reads what only notebooks have."""

    is_of_parameters = False

    def given_of(self, *values: Value) -> Given:
        """Give arguments of a call that stands nowhere."""
        return Given(values, {})

    def magic(self, node: ast.Call, magic: object) -> Value:
        """Read a magic."""
        found: Magic = magic  # type: ignore[assignment]
        for name in found.reads:
            self.load(name)
        line, body = self._texts(node)
        is_known = self._known_magic(found.name, line, body)
        if not is_known and found.is_dynamic:
            self.world.cell.dynamic = self.world.cell.dynamic or self.world.line
        tree = self.parse(found.python) if found.python else None
        if tree is not None:
            self._body(tree, found, node)
        for name in found.binds:
            self.store(name, self.fresh(kind="list"))
        return self.fresh(kind="list") if found.name == "!" else UNKNOWN

    def _texts(self, node: ast.Call) -> tuple[str, str]:
        """Give the line and the body of a magic, with what is known of names in them."""
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in {"system", "getoutput"}:
            return self._expanded(str(texts[0])), ""
        line = self._expanded(str(texts[1])) if len(texts) > 1 else ""
        return line, str(texts[2]) if len(texts) > 2 else ""  # noqa: PLR2004 - name, line, body

    def _expanded(self, text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            value = self.world.values.get(name)
            return value.text if value is not None and value.text is not None else f"{{{name}}}"

        return _EXPANDED.sub(value_of, text)

    def _known_magic(self, name: str, line: str, body: str) -> bool:
        """Do what a magic does to state and files; say whether that is all."""
        world = self.world
        if name in _SHELLS:
            self._shell(body or line)
        elif name in {"%pip", "%conda", "%mamba", "%uv"}:
            world.use_file(PACKAGES, is_written=True, is_repeatable=True)
        elif name in {"%cd", "%pushd", "%popd"}:
            world.change_state("<cwd>")
        elif name in {"%env", "%set_env"}:
            if line.strip():
                world.change_state("<environ>")
        elif name in {"%%writefile", "%%file"}:
            is_added = line.split()[:1] == ["-a"]
            path = " ".join(line.split()[1:] if is_added else line.split())
            world.use_file(path.strip("\"'"), is_written=True, is_read=is_added)
        elif name in _SETS_SHELL_UP:
            world.change_module("IPython")
        elif name in {"%run", "%%run"}:
            return self._run(line)
        elif name == "%load":
            return False
        return name in {*_SHELLS, "%cd", "%env", "%set_env", "%%writefile", *_SETS_SHELL_UP}

    def _shell(self, text: str) -> None:
        if _INSTALLS.match(text):
            self.world.use_file(PACKAGES, is_written=True, is_repeatable=True)
        if "wget " in text or "curl " in text:
            self.world.cell.chance = self.world.cell.chance or ("a download", self.world.line)
        self.command(text)

    def _body(self, tree: ast.Module, magic: Magic, node: ast.Call) -> None:
        offset, depth = self.line_offset, self.depth
        self.line_offset += node.lineno - 1 + magic.first_line
        self.depth = depth - 1
        if magic.is_contained:
            owned = frozenset(_stored(tree))
            with self.inside(Frame(self.frame, "function", owned=owned)):
                self.block(tree.body)
        else:
            self.block(tree.body)
        self.line_offset, self.depth = offset, depth

    def _run(self, line: str) -> bool:
        """Read a script that runs in the notebook's namespace, where it lies beside it."""
        try:
            words = [word for word in shlex.split(line) if not word.startswith("-")]
        except ValueError:
            words = []
        text = text_beside(self.folder, words[0]) if words else None
        if words:
            self.world.use_file(words[0], is_written=False)
        if text is None:
            return False
        self.run_text(text)
        return True

    def run_text(self, text: str) -> None:
        """Read text that runs in the notebook's namespace, as if it stood here."""
        tree = self.parse(text)
        if tree is None:
            self.world.cell.dynamic = self.world.cell.dynamic or self.world.line
            return
        line, frame = self.world.line, self.frame
        self.stack.append(_SCRIPT)
        self.frame = None if frame is None or frame.kind != "function" else frame
        self.block(tree.body)
        self.frame = frame
        self.stack.pop()
        self.world.line = line

    # --- modules -------------------------------------------------------------------------------

    def import_module(self, module: str) -> None:
        """A module is imported: it may be a file that an earlier step has written."""
        for path in module_files(module):
            self.world.use_file(path, is_written=False, is_repeatable=True)

    def star(self, module: str, node: ast.ImportFrom) -> None:
        """All names of a module are bound."""
        world = self.world
        names = module_names(self.folder, module)
        last = world.line + (node.end_lineno or node.lineno) - node.lineno
        world.cell.stars.append(Star(module, world.cell.cell, world.line, last, names is None))
        if names is None:
            world.stars.append(module)
            names = builtins_hidden(module)
        before, self.site_digest = self.site_digest, f"{STAR}{module}"
        self.site_kind = "import"
        for name in names:
            self.store(name, Value(library=f"{module}.{name}"))
        self.site_kind, self.site_digest = "value", before

    def call_library(self, path: str, given: Given) -> Value:
        """Call something that was imported."""
        root, _, name = path.partition(".")
        if keeps_state(self.folder, root, name):
            self.world.change_module(root)
        if seeds(self.folder, root, name):
            for state in known.RNGS:
                self.world.change_state(state)
                self.world.set_state(state)
        return super().call_library(path, given)


def _stored(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


# Stands for a script on the stack of functions.
_NOTHING = ast.Lambda(ast.arguments([], [], None, [], [], None, []), ast.Constant(None))
_SCRIPT = Code(_NOTHING, "", -1, None)

"""The docs are true: everything public says what it means, examples run, and commands exist."""

from __future__ import annotations

import doctest
import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import papermill  # noqa: F401  # it loads its engines when imported, ours among them, in its order
import pytest
from numpydoc.validate import validate

import mlops_nb
from mlops_nb.cli import cli as command_line

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(mlops_nb.__path__, "mlops_nb.")
    if ".migrations" not in name and not name.endswith("__main__")
)
if importlib.util.find_spec("torch") is None:  # it is there only where it comes without CUDA
    MODULES.remove("mlops_nb.fingerprint.torch_values")
PUBLIC_NAMES = sorted(name for name in mlops_nb.__all__ if not name.startswith("_"))

# Of numpydoc's checks, those on which the meaning hangs: there is a summary (SS01), every
# parameter is explained (PR01), none that does not exist (PR02), in the order of the signature
# (PR03), and what comes back or goes wrong is not an empty section (RT03). Types stand in the
# annotations.
WANTED = {"GL08", "SS01", "PR01", "PR02", "PR03", "RT03"}


def public_members(module_name: str) -> list[str]:
    """Name the public functions, classes and methods that are written in a module."""
    module = importlib.import_module(module_name)
    names = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        if inspect.isclass(value):
            names += [f"{name}.{method}" for method in public_methods(value)]
        if inspect.isclass(value) or inspect.isfunction(value):
            names.append(name)
    return names


def public_methods(of_class: type) -> list[str]:
    """Name the methods and properties that the class itself writes."""
    return [
        name
        for name, value in vars(of_class).items()
        if not name.startswith("_")
        and isinstance(value, (property, classmethod, staticmethod, functools.cached_property))
        | inspect.isfunction(value)
    ]


@pytest.mark.parametrize("module_name", MODULES)
def test_everything_public_has_a_docstring(module_name):
    module = importlib.import_module(module_name)
    bare = [name for name in public_members(module_name) if not doc_of(module, name)]
    assert module.__doc__
    assert bare == []


def doc_of(module, name: str) -> str | None:
    """Give the docstring of ``function``, ``Class`` or ``Class.method``, inherited ones too.

    A property may be explained among the attributes of its class instead.
    """
    owner, _, member = name.partition(".")
    value = getattr(module, owner)
    if not member:
        return inspect.getdoc(value)
    found = inspect.getdoc(inspect.getattr_static(value, member))
    _, _, attributes = (value.__doc__ or "").partition("Attributes\n")
    listed = re.search(rf"^ +(\w+, )*{member}(, \w+)*$", attributes, re.MULTILINE)
    return found or inspect.getdoc(getattr(value, member)) or (listed and listed[0])


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_a_public_name_explains_its_parameters(name):
    value = getattr(mlops_nb, name)
    if not callable(value):
        pytest.skip("a value, not a function or a class")
    path = f"{value.__module__}.{value.__qualname__}"
    wrong = [text for code, text in validate(path)["errors"] if code in WANTED]
    assert wrong == []


@pytest.mark.parametrize("module_name", MODULES)
def test_the_examples_in_docstrings_run(module_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_NB_STORE", str(tmp_path / ".mlops"))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(importlib.import_module(module_name), optionflags=flags)
    assert failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        example
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        for example in test.examples
        if not example.options.get(doctest.SKIP)
    ]
    assert len(examples) >= 10


def code_of(text: str) -> str:
    """Give what stands in code blocks and between backquotes."""
    found = re.finditer(r"```\w*\n(?P<block>.*?)```|`(?P<inline>[^`\n]+)`", text, re.DOTALL)
    return "\n".join(match["block"] or match["inline"] for match in found)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", code_of(README)))))
def test_a_make_target_of_the_readme_exists(target):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bmlops-nb ([a-z]+)", code_of(README)))))
def test_a_command_of_the_readme_exists(name):
    context = click.Context(command_line)
    assert name in command_line.list_commands(context)


def test_every_command_is_in_the_readme():
    named = set(re.findall(r"\bmlops-nb ([a-z]+)", code_of(README)))
    assert set(command_line.list_commands(click.Context(command_line))) <= named


def test_the_magics_of_the_readme_are_the_magics_there_are(tmp_path):
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("mlops_nb")
magics = shell.magics_manager.magics
print(*sorted({name for kind in magics.values() for name in kind if name.startswith("mlops_")}))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"IPYTHONDIR": str(tmp_path), "MLOPS_NB_STORE": str(tmp_path / ".mlops")},
    )
    there = set(answer.stdout.splitlines()[-1].split())
    assert set(re.findall(r"%(mlops_[a-z]+)", README)) == there


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bmn\.([a-z_]+)", code_of(README)))))
def test_a_python_name_of_the_readme_exists(name):
    assert hasattr(mlops_nb, name)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, id=path.relative_to(ROOT).as_posix())
        for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*.md")])
        if not path.relative_to(ROOT).parts[0].startswith((".", "output", "build"))
    ],
)
def test_what_a_page_links_to_is_there(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(
        r'(?:src|srcset|href)="([^"#]+)"', text
    )
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []

"""Fixtures of the tests of files: a shell, and notebooks in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from files_notebook import Notebook

from mlops_nb import testing
from mlops_nb.capture import guard as guards

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shell():
    with testing.shell(track=False) as made:
        yield made.ip


@pytest.fixture
def new_notebook(shell, tmp_path, monkeypatch):
    """Make notebooks: ``new_notebook(folder, readers=False)``; all are closed with the test."""
    monkeypatch.chdir(tmp_path)
    guards.reset()
    made: list[Notebook] = []

    def make(folder: Path = tmp_path, **given) -> Notebook:
        made.append(Notebook(shell, folder.resolve(), **given))
        return made[-1]

    yield make
    for one in made:
        one.close()
    shell.reset(new_session=False)


@pytest.fixture
def notebook(new_notebook):
    return new_notebook()

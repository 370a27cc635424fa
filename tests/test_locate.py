"""Where a store is looked for, where it is made, and whose is not used."""

import os
import stat

import pytest

from mlops_nb.config import Settings
from mlops_nb.errors import StoreNotOurs, StoreUnwritable
from mlops_nb.store import locate as module
from mlops_nb.store.locate import find, locate, prepare

DEFAULTS = Settings()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of its own, so that a store above the tests is never found."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_the_nearest_store_above_the_notebook_is_found(home):
    deep = home / "work" / "a" / "b"
    deep.mkdir(parents=True)
    (home / ".mlops").mkdir()
    (home / "work" / ".mlops").mkdir()
    assert find(deep, DEFAULTS) == locate(deep, DEFAULTS) == str(home / "work" / ".mlops")


def test_without_one_it_is_made_beside_the_notebook(home):
    deep = home / "work" / "a"
    deep.mkdir(parents=True)
    assert find(deep, DEFAULTS) is None
    assert locate(deep, DEFAULTS) == str(deep / ".mlops")


@pytest.mark.parametrize("as_file", [False, True], ids=["repository", "worktree"])
def test_in_a_git_repository_it_is_made_at_the_root(home, as_file):
    deep = home / "repository" / "notebooks"
    deep.mkdir(parents=True)
    git = home / "repository" / ".git"
    git.write_text("gitdir: elsewhere\n") if as_file else git.mkdir()
    assert locate(deep, DEFAULTS) == str(home / "repository" / ".mlops")


def test_the_walk_stops_at_a_git_root(home):
    deep = home / "repository" / "notebooks"
    deep.mkdir(parents=True)
    (home / "repository" / ".git").mkdir()
    (home / ".mlops").mkdir()
    assert find(deep, DEFAULTS) is None


def test_the_walk_stops_at_the_home_folder(home, tmp_path):
    deep = home / "work"
    deep.mkdir()
    (tmp_path / ".mlops").mkdir()
    assert find(deep, DEFAULTS) is None
    (home / ".mlops").mkdir()
    assert find(deep, DEFAULTS) == str(home / ".mlops")


def test_the_walk_stops_at_a_file_system_border(home, monkeypatch):
    deep = home / "mounted" / "work"
    deep.mkdir(parents=True)
    (home / ".mlops").mkdir()
    real = module._device
    monkeypatch.setattr(module, "_device", lambda p: 0 if p == home else real(p))
    assert find(deep, DEFAULTS) is None
    assert locate(deep, DEFAULTS) == str(deep / ".mlops")


def test_a_notebook_in_a_folder_that_is_not_there_yet_is_looked_for_above(home):
    (home / ".mlops").mkdir()
    assert find(home / "new" / "folder", DEFAULTS) == str(home / ".mlops")


def test_a_file_named_like_a_store_is_none(home):
    (home / ".mlops").write_text("")
    assert find(home, DEFAULTS) is None


# --- whose ------------------------------------------------------------------------------------


@pytest.fixture
def foreign(home, monkeypatch):
    """A store that belongs to another user."""
    folder = home / "shared" / ".mlops"
    folder.mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    else:
        mine = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    return folder


def test_the_store_of_another_user_is_refused(foreign):
    with pytest.raises(StoreNotOurs, match="belongs to another user"):
        find(foreign.parent, DEFAULTS)
    with pytest.raises(StoreNotOurs, match="safe_stores"):
        locate(foreign.parent / "deeper", DEFAULTS)


@pytest.mark.parametrize("listed", ["store", "folder", "all"])
def test_the_store_of_another_user_is_used_if_it_is_listed_as_safe(foreign, listed):
    safe = {"store": str(foreign), "folder": str(foreign.parent), "all": "*"}[listed]
    assert find(foreign.parent, Settings(safe_stores=(safe,))) == str(foreign)


def test_a_person_may_name_the_store_of_another_user(foreign):
    settings = Settings(store=str(foreign), sources={"store": "argument"})
    assert find(foreign.parent, settings) == str(foreign)


def test_a_project_may_not_name_the_store_of_another_user(foreign):
    settings = Settings(store=str(foreign), sources={"store": "/x/pyproject.toml"})
    with pytest.raises(StoreNotOurs):
        find(foreign.parent, settings)


# --- named ------------------------------------------------------------------------------------


def test_a_named_store_is_not_looked_for(home):
    (home / ".mlops").mkdir()
    named = Settings(store=str(home / "runs"))
    assert find(home, named) is None
    assert locate(home, named) == str(home / "runs")


def test_a_named_folder_with_a_store_in_it_means_that_store(home):
    (home / "project" / ".mlops").mkdir(parents=True)
    named = Settings(store=str(home / "project"))
    assert find(home, named) == locate(home, named) == str(home / "project" / ".mlops")


def test_the_database_of_a_store_may_be_named(home):
    (home / "runs").mkdir()
    (home / "runs" / "store.db").touch()
    assert locate(home, Settings(store=str(home / "runs" / "store.db"))) == str(home / "runs")


def test_a_server_is_taken_as_it_is(home):
    url = "postgresql+psycopg://db.local/lab"
    assert find(home, Settings(store=url)) == locate(home, Settings(store=url)) == url


# --- made -------------------------------------------------------------------------------------


def test_a_new_store_is_private_and_hidden_from_git(home):
    before = os.umask(0)
    try:
        folder = prepare(home / "work" / ".mlops")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / ".gitignore").stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"


def test_what_somebody_wrote_into_the_gitignore_stays(home):
    folder = prepare(home / ".mlops")
    (folder / ".gitignore").write_text("!/exports\n")
    assert prepare(folder) == folder
    assert (folder / ".gitignore").read_text() == "!/exports\n"


def test_a_store_that_cannot_be_made_says_so(home):
    (home / "file").write_text("")
    with pytest.raises(StoreUnwritable, match="cannot be made"):
        prepare(home / "file" / ".mlops")

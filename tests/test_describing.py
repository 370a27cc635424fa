"""What the drainer finds out of an environment that its kernel only named."""

import sys

import pytest
import xxhash
from events import T0, session_started

from mlops_nb.environment import read_environment
from mlops_nb.model import EnvironmentSeen, SessionChanged
from mlops_nb.store import Store
from mlops_nb.store.intake.describing import Describer


@pytest.fixture
def store(store_location, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = read_environment()
    with Store.open(store_location, create=True) as store:
        seen = EnvironmentSeen(environment.digest, environment.content)
        named = SessionChanged("s1", T0, {"environment": environment.digest})
        store.apply([session_started(), seen, named])
        yield store


def details(store):
    return store.environment(read_environment().digest).content.get("details")


def tell(store, modules):
    store.apply([SessionChanged("s1", T0, {"modules": modules, "path": sys.path})])


def test_what_a_session_imported_is_found_by_its_files_once(store):
    describer = Describer("s1")
    assert not describer.look(store)
    tell(store, {"xxhash": xxhash.__file__})
    assert describer.look(store)
    assert "xxhash" in details(store)["imported"]
    assert not describer.look(store)


def test_what_another_session_imported_is_kept(store):
    tell(store, {"xxhash": xxhash.__file__})
    assert Describer("s1").look(store)
    tell(store, {"pytest": pytest.__file__})
    assert Describer("s1").look(store)
    assert {"xxhash", "pytest"} <= set(details(store)["imported"])


def test_a_session_that_nobody_knows_is_passed_over(store):
    assert not Describer("s9").look(store)

"""An error of ours never reaches the user."""

from __future__ import annotations

import pytest

from mlops_nb.capture import guard as module
from mlops_nb.capture.follow import follow
from mlops_nb.capture.guard import FAULTS_UNTIL_OFF, faults, guard, is_off, reset


@pytest.fixture(autouse=True)
def _no_faults(monkeypatch):
    monkeypatch.setattr(module, "on_warning", None)
    reset()
    yield
    reset()


def fail(what: str, times: int = 1) -> None:
    for _ in range(times):
        with guard(what):
            raise ValueError("bad")


def test_an_error_is_swallowed_and_recorded_with_its_place():
    fail("names")
    (fault,) = faults
    assert (fault.what, fault.error) == ("names", "ValueError: bad")
    assert "test_guard.py" in fault.where


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_passes(kind):
    with pytest.raises(kind), guard("names"):
        raise kind


def test_a_guarded_function_gives_its_answer():
    assert guard("names")(lambda a, b=1: a + b)(1, b=2) == 3


def test_a_guarded_function_gives_none_when_it_fails():
    assert guard("names")(lambda: 1 / 0)() is None


def test_after_three_faults_a_facet_is_off_and_others_are_not():
    calls = []

    @guard("names")
    def work() -> None:
        calls.append(1)
        raise ValueError

    for _ in range(5):
        work()
    assert len(calls) == FAULTS_UNTIL_OFF == 3
    assert is_off("names")
    assert not is_off("outputs")


def test_one_warning_a_session_whatever_fails(monkeypatch):
    said = []
    monkeypatch.setattr(module, "on_warning", said.append)
    fail("names", 2)
    fail("outputs")
    assert len(said) == 1
    assert "%mlops_doctor" in said[0]
    assert "\n" not in said[0]


def test_an_error_that_cannot_tell_its_text_is_swallowed_too():
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with guard("names"):
        raise Hostile
    assert faults[-1].error.startswith("Hostile")


def test_faults_do_not_pile_up():
    for number in range(250):
        fail(f"facet {number}")
    assert len(faults) == 100
    assert faults[-1].what == "facet 249"


# --- following a method -----------------------------------------------------------------------


class Sender:
    def __init__(self) -> None:
        self.sent = []

    def send(self, text, *, loud=False):
        self.sent.append(text.upper() if loud else text)
        return len(self.sent)


def test_a_followed_method_does_what_it_did():
    sender, seen = Sender(), []
    follow(sender, "send", lambda *call: seen.append(call), what="outputs")
    assert sender.send("a", loud=True) == 1
    assert sender.sent == ["A"]
    assert seen == [(("a",), {"loud": True}, 1)]


def test_a_fault_of_the_follower_is_not_the_callers():
    sender = Sender()
    follow(sender, "send", lambda *_: 1 / 0, what="outputs")
    assert [sender.send("a") for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(faults) == FAULTS_UNTIL_OFF


def test_an_error_of_the_original_is_the_callers_and_is_raised_once():
    sender, seen = Sender(), []
    follow(sender, "send", lambda *call: seen.append(call), what="outputs")
    with pytest.raises(AttributeError):
        sender.send(1, loud=True)
    assert (sender.sent, seen, faults) == ([], [], [])


def test_undoing_leaves_the_instance_as_it_was():
    sender = Sender()
    undo = follow(sender, "send", lambda *_: None, what="outputs")
    undo()
    assert "send" not in vars(sender)


def test_undoing_beneath_somebody_elses_wrapper_only_passes_on():
    sender, seen, theirs = Sender(), [], []
    undo = follow(sender, "send", lambda *call: seen.append(call), what="outputs")
    ours = sender.send
    sender.send = lambda text: (theirs.append(text), ours(text))[1]
    undo()
    assert sender.send("a") == 1
    assert (theirs, seen) == (["a"], [])

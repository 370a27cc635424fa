"""A record is a frozen dataclass in all that can be seen of it."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from pprint import pformat
from typing import ClassVar

import pytest

from mlops_nb.record import record


@record
class Reading:
    """A value and where it came from."""

    name: str
    value: float = 0.5
    notes: dict = field(default_factory=dict)

    @property
    def label(self):
        return f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    value: float = 0.5
    notes: dict = field(default_factory=dict)


@record
class Key:
    """What can be a key of a dictionary."""

    run: str
    step: int | None = None


def test_it_is_made_and_shown_as_a_dataclass():
    made = Reading("auc", notes={"a": 1})
    assert repr(made) == repr(Plain("auc", notes={"a": 1})).replace("Plain", "Reading")
    assert (made.name, made.value, made.notes, made.label) == ("auc", 0.5, {"a": 1}, "auc=0.5")
    assert [one.name for one in fields(made)] == [one.name for one in fields(Plain)]


def test_each_has_its_own_default():
    assert Reading("a").notes is not Reading("b").notes


@pytest.mark.parametrize("arguments", [(), ("a", 1.0, {}, 4)], ids=["too few", "too many"])
def test_wrong_arguments_are_refused_with_the_names(arguments):
    with pytest.raises(TypeError, match=r"Reading\.__init__\(\)"):
        Reading(*arguments)


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="colour"):
        Reading("a", colour="red")


def test_nothing_of_it_can_be_changed():
    made = Reading("a")
    with pytest.raises(FrozenInstanceError, match="value"):
        made.value = 1.0
    with pytest.raises(FrozenInstanceError, match="name"):
        del made.name
    with pytest.raises((AttributeError, TypeError)):
        made.colour = "red"


def test_equal_content_of_the_same_kind_is_equal():
    assert Key("a", 1) == Key("a", 1)
    assert Key("a", 1) != Key("a", 2)
    assert Reading("a") != Plain("a")
    assert len({Key("a", 1), Key("a", 1), Key("a")}) == 2


@pytest.mark.parametrize(
    "again",
    [
        lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301  what we have just written
        copy.copy,
        copy.deepcopy,
        replace,
        lambda one: Reading(**asdict(one)),
    ],
    ids=["pickle", "copy", "deepcopy", "replace", "asdict"],
)
def test_it_survives_being_copied(again):
    one = Reading("a", 0.25, {"deep": [1]})
    assert again(one) == one
    assert replace(one, value=0.75).value == 0.75


def test_match_sees_its_fields():
    match Key("a", 3):
        case Key(run, step):
            assert (run, step) == ("a", 3)


def test_what_is_no_field_stays_in_the_class():
    @record
    class Scale:
        least: ClassVar[int] = 3
        width: int = 4
        seen: list = field(default_factory=list, kw_only=True)

    assert Scale.least == 3
    assert [one.name for one in fields(Scale)] == ["width", "seen"]
    assert Scale.__match_args__ == ("width",)
    assert Scale(5, seen=[1]) == Scale(width=5, seen=[1])
    with pytest.raises(TypeError, match="positional"):
        Scale(5, [1])


def test_it_is_printed_by_pprint():
    assert pformat(Key("a", 3)) == "Key(run='a', step=3)"

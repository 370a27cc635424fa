"""Every exception survives the way back from a worker process."""

import inspect
import pickle

import pytest

from mlops_nb import errors


def _all_classes():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    return [c for c in classes if errors.MlopsNbError in c.__mro__[1:]]


def _example(cls):
    """Make an exception with another fact for each parameter."""
    facts = []
    for position, parameter in enumerate(inspect.signature(cls).parameters.values()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if "tuple" in str(parameter.annotation):
            facts.append(("one", "two"))
        elif parameter.annotation == "int":
            facts.append(position)
        else:
            facts.append(f"{parameter.name} <of> {position}")
    return cls(*facts)


@pytest.mark.parametrize("cls", _all_classes(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_keeps_type_facts_and_message_through_pickling(cls, protocol):
    error = _example(cls)
    copy = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(copy) is cls
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert copy.exit_code == error.exit_code


@pytest.mark.parametrize("cls", _all_classes(), ids=lambda cls: cls.__name__)
def test_an_error_keeps_what_was_noted_on_it(cls):
    error = _example(cls)
    error.add_note("while listing runs")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert copy.__notes__ == ["while listing runs"]


@pytest.mark.parametrize(
    "cls",
    [errors.StoreNotFound, errors.StoreUnwritable, errors.StoreNotOurs],
    ids=lambda cls: cls.__name__,
)
def test_a_store_error_that_is_an_os_error_names_the_store_as_its_file(cls):
    error = cls("/data/.mlops", "it is full", "Free some space.")
    assert error.filename == "/data/.mlops"
    assert error.strerror == "it is full"
    assert error.errno is None


def test_a_newer_store_says_who_wrote_it_and_that_nothing_changed():
    message = str(errors.StoreTooNew("/data/.mlops", "0.4", "12", "11"))
    assert "written by mlops-nb 0.4 (schema 12)" in message
    assert "(schema 11)" in message
    assert message.endswith("Nothing was changed.")


def test_a_bad_query_points_at_the_character():
    message = str(errors.BadQuery("accuracy > 1", 9, "Found it."))
    sentence, query, pointer = message.split("\n")
    assert query[pointer.index("^")] == ">"
    assert sentence == "Found it."

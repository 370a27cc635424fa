"""Fixtures of the tests of faults."""

from __future__ import annotations

import pytest
from fault_children import Nursery


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """Start children that are cheap to kill; none outlives the tests of a file."""
    made = Nursery(tmp_path_factory.mktemp("home"))
    yield made
    made.close()

"""The lint of names refuses what it is for."""

import pytest

from tests.lint.names import banned, repeated_classes


@pytest.mark.parametrize(
    "source",
    ["found = 1", "for each in rows: pass", "def told(): ...", "f = lambda wanted: 1", "self.place = 1", "import json as look"],
)
def test_a_name_that_says_nothing_is_refused(source: str) -> None:
    assert banned({"release/x.py": source})


def test_a_name_that_says_something_passes() -> None:
    assert banned({"release/x.py": "matches = [row for row in rows]"}) == []


def test_two_classes_of_one_name_are_refused_in_the_product_only() -> None:
    twice = "class Answer: ..."

    assert repeated_classes({"serving/a.py": twice, "release/b.py": "class _Answer: ..."})
    assert repeated_classes({"serving/a.py": twice, "tests/b.py": twice}) == []

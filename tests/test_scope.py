"""A scope says whose mail somebody may see."""

from __future__ import annotations

from typing import Any

import pytest

from flask_mailtrack import Scope


def test_names_are_spelled_as_they_are_stored() -> None:
    """Domains are without case, lists are folded, tags stay as written; any iterable will do."""
    scope = Scope(["News.Example", "news.example"], (" Weekly ", "weekly"), iter(["A", "a"]))
    assert scope == Scope({"news.example"}, {"weekly"}, {"a", "A"})
    assert hash(scope) == hash(Scope({"news.example"}, {"weekly"}, {"a", "A"}))
    assert (Scope().lists, Scope(lists=[]).lists) == (None, frozenset())


def test_two_scopes_together_are_narrower() -> None:
    """What is inside both is inside their union of conditions; any is no condition."""
    assert Scope({"a", "b"}) & Scope({"b", "c"}, tags={"t"}) == Scope({"b"}, tags={"t"})
    assert Scope(tags={"a"}) & Scope(tags={"b"}) == Scope(tags=())


@pytest.mark.parametrize("wrong", ["news", b"news", 5, ["news", 5]], ids=repr)
def test_a_wrong_scope_is_no_scope(wrong: Any) -> None:
    """One string is not taken for its letters, and nothing else for a name."""
    for dimension in ("sender_domains", "lists", "tags"):
        with pytest.raises(TypeError, match=f"{dimension} of a Scope"):
            Scope(**{dimension: wrong})


@pytest.mark.parametrize("wrong", ["a\0", "\ud800"], ids=ascii)
def test_a_name_that_no_database_takes_is_refused(wrong: str) -> None:
    """A query with such a name would fail on PostgreSQL."""
    with pytest.raises(ValueError, match="tags of a Scope"):
        Scope(tags=[wrong])

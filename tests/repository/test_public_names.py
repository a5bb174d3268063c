"""What is public is marked, and written down."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "public.md").read_text(encoding="utf-8")
TABLE = {name: re.findall(r"`(\w+)`", names) for name, names in re.findall(r"^\| `([\w.]+)` \| (.*) \|$", PAGE, re.M)}
MODULES = ["", ".consent", ".errors", ".events", ".models", ".pytest_plugin", ".signals", ".testing"]


def test_the_table_has_the_public_modules() -> None:
    """Eight modules are the host's."""
    assert list(TABLE) == [f"flask_mailtrack{name}" for name in MODULES]


@pytest.mark.parametrize("name", list(TABLE))
def test_what_a_module_offers_is_what_the_page_says(name: str) -> None:
    """Each public name is there, is marked by ``__all__``, has a docstring or a value, and stands on the page."""
    module = importlib.import_module(name)
    assert sorted(module.__all__, key=str.lower) == TABLE[name]
    assert all(hasattr(module, each) for each in module.__all__)

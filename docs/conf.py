"""How Sphinx builds these pages: ``sphinx-build -W -b html docs build/docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generated  # noqa: E402 - this folder is on the path only now

project = "flask_mailtrack"
author = "The flask_mailtrack authors"
copyright = author
release = generated.version()
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["recipes/*.py", "**/__pycache__"]
html_theme = "furo"
html_title = f"flask_mailtrack {release}"
html_copy_source = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # two public records may have a field of one name


def _filled_in(app: Any, page: str, source: list[str]) -> None:
    """Put the tables that the code gives in the place of their marks."""
    source[0] = re.sub(r"^<!-- generated: (\w+) -->$", lambda m: getattr(generated, m[1])(), source[0], flags=re.M)


def setup(app: Any) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("source-read", _filled_in)

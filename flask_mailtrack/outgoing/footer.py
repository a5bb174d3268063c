"""The footer of list mail, in the language of the mail."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask_mailtrack.languages import spoken

from .delivery import Letter

Render = Callable[[str, str, str], str]
"""Renders the footer: of a part (``html`` or ``txt``), around an unsubscribe URL, in a language; ``""``: the app's."""

_LANGUAGE = re.compile(r"""<html\b[^>]*?\slang\s*=\s*["']?([a-z-]+)""", re.IGNORECASE)
_LOOKED_THROUGH = 4_096
"""Characters of HTML in which ``<html lang="…">`` is searched."""


def language_of(letter: Letter) -> str:
    """Return the language that a mail names by ``Content-Language``, else by ``<html lang>``; ``""``: none of ours."""
    headers = letter.extra_headers or {}
    said = next((str(value) for name, value in headers.items() if name.lower() == "content-language"), "")
    if not said and (found := _LANGUAGE.search(str(letter.html or "")[:_LOOKED_THROUGH])):
        said = found[1]
    return next(filter(None, (spoken(tag.strip()) for tag in said.split(","))), "")


def footer(render: Render, letter: Letter, part: str, url: str) -> str:
    """Return the footer of a part of *letter*. The charset of the letter can carry it."""
    written = render(part, url, language_of(letter))
    if part == "html":
        return written if _carries(letter, written) else written.encode("ascii", "xmlcharrefreplace").decode()
    # Flask-Mail raises an error for a letter that its charset cannot carry. English goes through any charset.
    return written if _carries(letter, written) else render(part, url, "en")


def _carries(letter: Letter, written: str) -> bool:
    try:
        written.encode(letter.charset or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True

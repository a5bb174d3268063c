"""The language of the pages: the standard library's gettext, and catalogues inside the package.

The sources are ``locale/<language>/LC_MESSAGES/mailtrack.po``. What is written there reaches the
reader once it is compiled: ``pybabel compile -d flask_mailtrack/locale -D mailtrack``.
"""

from __future__ import annotations

import gettext
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

FOLDER = Path(__file__).parents[1] / "locale"
LANGUAGES = {
    "en": "en",
    "ar": "ar",
    "de": "de",
    "es": "es",
    "fr": "fr",
    "ja": "ja",
    "pt": "pt",
    "zh": "zh-Hans",
}
"""Each language that the pages speak, with its tag (BCP 47). English is what the templates say."""
_RIGHT_TO_LEFT = {"ar"}


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the pages; called with an English text, it returns that text's translation."""

    language: str
    catalogue: gettext.NullTranslations = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    """The compiled catalogue."""

    @property
    def tag(self) -> str:
        """What ``lang`` and ``Content-Language`` say."""
        return LANGUAGES[self.language]

    @property
    def direction(self) -> str:
        """Which way it is written: ``ltr`` or ``rtl``."""
        return "rtl" if self.language in _RIGHT_TO_LEFT else "ltr"

    def __call__(self, text: str, **values: Any) -> Markup:
        """Return the translation of *text*, or *text*, with *values* escaped into its ``%(name)s``."""
        translated = _translated(self.catalogue, text)
        return translated % values if values else translated

    def fingerprint(self, sources: Sequence[str]) -> str:
        """Return a short name for what these words make of *sources*: language and hash, ``de.8f3a01bc``."""
        digest = blake2b(self.content, digest_size=4)
        for source in sources:
            digest.update(source.encode())
        return f"{self.language}.{digest.hexdigest()}"


@lru_cache(1_024)
def _translated(catalogue: gettext.NullTranslations, text: str) -> Markup:
    return Markup(catalogue.gettext(text))  # noqa: S704 - the catalogues are ours


def spoken(tag: str) -> str | None:
    """Return which of :data:`LANGUAGES` a tag such as ``pt-BR`` or ``pt_BR`` asks for, if any."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else None


@cache
def words(language: str) -> Words:
    """Return the words of one of :data:`LANGUAGES`; of any other, English."""
    if language not in LANGUAGES or language == "en":
        return Words("en", gettext.NullTranslations())
    path = FOLDER / language / "LC_MESSAGES" / "mailtrack.mo"
    with path.open("rb") as file:
        return Words(language, gettext.GNUTranslations(file), path.read_bytes())


@lru_cache(1_024)
def accepted(header: str) -> str:
    """Return which of :data:`LANGUAGES` an ``Accept-Language`` header asks for, else English.

    Werkzeug's own best match takes English for ``de-AT, en;q=0.9``.
    """
    tags = parse_accept_header(header, LanguageAccept)
    return next(filter(None, (spoken(tag) for tag, quality in tags if quality > 0)), "en")

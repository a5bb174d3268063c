"""The languages of all pages, and their words.

Translations use the standard library's gettext, with catalogues inside the package. The sources are
``locale/<language>/LC_MESSAGES/mailtrack.po``. A change reaches the reader when it has been compiled:
``pybabel compile -d flask_mailtrack/locale -D mailtrack``.
"""

from __future__ import annotations

import gettext
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from .phrases import Numeral, Phrase

try:
    from flask_babel import get_locale
except ImportError:  # the host does not use Flask-Babel
    get_locale = None

log: logging.Logger = logging.getLogger("flask_mailtrack")

LONGEST_HEADER = 512
"""Characters of Accept-Language that are read. The memory must not grow with the text that a client sends."""
FOLDER = Path(__file__).parent / "locale"
LANGUAGES = {
    "en": "en",
    "ar": "ar",
    "de": "de",
    "es": "es",
    "fr": "fr",
    "ja": "ja",
    "pt": "pt-BR",
    "zh": "zh-Hans",
}
"""The languages of the pages, with their tags (BCP 47). English is the text of the templates.

A reader in Portugal gets Brazilian Portuguese, and a reader in Taiwan simplified characters: both read them with less
effort than English.
"""
_RIGHT_TO_LEFT = {"ar"}
_UNSPACED = {"ja", "zh"}
"""Languages that have no space between sentences."""
_FRACTIONS_BY_WHOLE_PART = {"fr", "pt"}
"""Languages in which 1.5 is a singular: the whole part decides."""
_OF_FRACTIONS = 100
"""A number whose form fractions have in every other language."""
_SIGNS = {
    "de": (".", ",", "\N{NO-BREAK SPACE}"),
    "es": (".", ",", "\N{NO-BREAK SPACE}"),
    "fr": ("\N{NARROW NO-BREAK SPACE}", ",", "\N{NARROW NO-BREAK SPACE}"),
    "pt": (".", ",", ""),
}
"""What stands between thousands, before decimals, and before a percent sign, where English signs would be misread."""
_COMMAS = {"ar": "\N{ARABIC COMMA} ", "ja": "\N{IDEOGRAPHIC COMMA}", "zh": "\N{IDEOGRAPHIC COMMA}"}
"""What stands between the parts of a list, where it is not a comma and a blank."""


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the pages. A call with an English text returns its translation."""

    language: str
    catalogue: gettext.NullTranslations = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    """The compiled catalogue."""

    @property
    def tag(self) -> str:
        """The value of ``lang`` and ``Content-Language``."""
        return LANGUAGES[self.language]

    @property
    def direction(self) -> str:
        """The direction of writing: ``ltr`` or ``rtl``."""
        return "rtl" if self.language in _RIGHT_TO_LEFT else "ltr"

    @property
    def space(self) -> str:
        """The space between two sentences."""
        return "" if self.language in _UNSPACED else " "

    def __call__(self, text: str, /, **values: Any) -> Markup:
        """Return the translation of *text*, or *text*, with *values* escaped into its ``%(name)s``."""
        translated = _translated(self.catalogue, text)
        return translated % values if values else translated

    def counted(self, number: float, one: str, many: str, /, **values: Any) -> Markup:
        """Return the translation of a text about a number, which stands at the place ``%(number)s``.

        :param number: a fraction is a number of its own: ``1.5 days``, and ``1,5 jour`` in French.

        :param one: the English text for the number one.
        :param many: the English text for every other number. A language may have more forms than two.
        """
        whole = int(number)
        of_whole = number == whole or self.language in _FRACTIONS_BY_WHOLE_PART
        text = _counted(self.catalogue, one, many, whole if of_whole else _OF_FRACTIONS)
        written = f"{whole:,}" if number == whole else f"{number:,.4g}"
        return text % {"number": self.figures(written), **values}

    def say(self, text: str, write: Callable[[Any], str] = str) -> Markup:
        """Return a phrase in this language, or any other text as *write* gives it.

        :param write: writes the values that are no phrases and no numbers.
        """
        if not text:  # which in a catalogue is the name of its header
            return Markup()
        if not isinstance(text, Phrase):
            return escape(self._foreign(write(text)))
        values = {name: self._value(value, write) for name, value in text.values.items()}
        if text.many:
            return self.counted(text.number, text.template, text.many, **values)
        return self(text.template, **values)

    def _value(self, value: Any, write: Callable[[Any], str]) -> str:
        if isinstance(value, Phrase):
            return self.say(value, write)
        if isinstance(value, Numeral):
            return self.figures(value)
        if isinstance(value, int):
            return self.figures(f"{value:,}")
        if isinstance(value, (tuple, list)):
            return escape(_COMMAS.get(self.language, ", ")).join(self._value(each, write) for each in value)
        return self._foreign(write(value))

    def _foreign(self, text: str) -> str:
        """Return text of another language. Among text from right to left, its signs would stand at the wrong end."""
        if self.language not in _RIGHT_TO_LEFT:
            return text
        return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"

    def figures(self, written: str) -> str:
        """Return a number, written as in English (``14,269`` or ``43.0%``), with the signs of the language."""
        if self.language not in _SIGNS:
            return written
        thousands, decimals, space = _SIGNS[self.language]
        return written.translate({ord(","): thousands, ord("."): decimals, ord("%"): f"{space}%"})

    def fingerprint(self, sources: Sequence[str]) -> str:
        """Return a short name for the translation of *sources*: language and hash, ``de.8f3a01bc``."""
        digest = blake2b(self.content, digest_size=4)
        for source in sources:
            digest.update(source.encode())
        return f"{self.language}.{digest.hexdigest()}"


@lru_cache(8_192)
def _translated(catalogue: gettext.NullTranslations, text: str) -> Markup:
    return escape(catalogue.gettext(text))


@lru_cache(8_192)
def _counted(catalogue: gettext.NullTranslations, one: str, many: str, number: int) -> Markup:
    return escape(catalogue.ngettext(one, many, number))


def spoken(tag: str) -> str | None:
    """Return the entry of :data:`LANGUAGES` for a tag such as ``pt-BR`` or ``pt_BR``, if there is one."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else None


@cache
def words(language: str) -> Words:
    """Return the words of one of :data:`LANGUAGES`; of English for any other language."""
    if language not in LANGUAGES or language == "en":
        return Words("en", gettext.NullTranslations())
    path = FOLDER / language / "LC_MESSAGES" / "mailtrack.mo"
    with path.open("rb") as file:
        return Words(language, gettext.GNUTranslations(file), path.read_bytes())


@lru_cache(1_024)
def accepted(header: str) -> str:
    """Return the entry of :data:`LANGUAGES` that an ``Accept-Language`` header prefers, else English.

    Werkzeug's best match is not used, because it takes English for ``de-AT, en;q=0.9``.
    """
    tags = parse_accept_header(header, LanguageAccept)
    return next(filter(None, (spoken(tag) for tag, quality in tags if quality > 0)), "en")


@lru_cache(16)
def _complain(problem: str) -> None:
    """Log once, and not for each reader, what stands in the way of an app's own choice of the language."""
    log.warning("Flask-Babel does not know the reader's language, so the browser says it: %s", problem, exc_info=True)


def reader_words(babel: bool, header: str) -> Words:
    """Return the words of the reader of a request: by Flask-Babel if the host uses it, else by the browser.

    :param babel: whether the app of the request has Flask-Babel.
    :param header: ``Accept-Language``.
    """
    if get_locale is not None and babel:
        try:
            chosen = spoken(str(get_locale() or ""))
        except Exception as error:
            _complain(f"{type(error).__name__}: {error}"[:200])
        else:
            if chosen:
                return words(chosen)
    return words(accepted(header[:LONGEST_HEADER]))


def spoken_by_babel(babel: bool) -> str | None:
    """Return the entry of :data:`LANGUAGES` that Flask-Babel has now, maybe outside a request; ``None``: it has none.

    :param babel: whether the current app has Flask-Babel.
    """
    if get_locale is None or not babel:
        return None
    try:
        return spoken(str(get_locale() or ""))
    except Exception:  # as many apps look at the request for a locale, and a mail may be sent without one
        log.debug("Flask-Babel does not know the language of a mail", exc_info=True)
        return None

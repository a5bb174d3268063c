"""English text that still knows its template and its values, so that a page can say the same in another language.

A phrase is a string like any other: reports, commands and files have the English text. A page has the template
translated, and writes the values as its reader does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any


class Numeral(str):
    """A number with its signs, as English writes it, such as ``43.0%``. Each language has signs of its own."""

    __slots__ = ()


class Phrase(str):
    """One text.

    :param template: the text, with a place ``%(name)s`` for each value. A literal, because catalogues are made of it.
    :param values: another phrase, a :class:`Numeral`, a number, a day, a duration, several of these, or what others
        have written, which no language changes.
    """

    template: str
    many: str
    """The template for every number but one; empty: the text is the same for all numbers."""
    number: int
    values: Mapping[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Phrase:
        """Write the text in English."""
        return cls._made(template, "", 0, values)

    @classmethod
    def counted(cls, number: int, one: str, many: str, /, **values: Any) -> Phrase:
        """Return a text about a number, which stands at the place ``%(number)s``.

        :param one: the template for the number one.
        :param many: the template for every other number.
        """
        return cls._made(one, many, number, values)

    @classmethod
    def of(cls, text: str) -> Phrase:
        """Return a text without values that some page has in its table, and so the catalogues know."""
        return cls._made(text, "", 0, {})

    @classmethod
    def _made(cls, template: str, many: str, number: int, values: Mapping[str, Any]) -> Phrase:
        shown = {name: _written(value) for name, value in values.items()} | ({"number": number} if many else {})
        chosen = many if many and number != 1 else template
        made = str.__new__(cls, chosen % shown if shown else chosen)
        made.template, made.many, made.number, made.values = template, many, number, values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies know what this one knows."""
        return Phrase._made, (self.template, self.many, self.number, self.values)


NOTHING: Phrase = Phrase("")
"""No text at all."""


def foreign(text: str) -> Phrase:
    """Return what somebody else has written, such as the text of an exception: the same in each language."""
    return Phrase("%(text)s", text=text)


def _written(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.0f} seconds"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    return ", ".join(map(_written, value)) if isinstance(value, (tuple, list)) else str(value)

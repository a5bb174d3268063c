"""English text that still knows its template and its values, so that a page can say the same in another language.

A phrase is a string like any other: reports, commands and files have the English text. A page has the template
translated, and writes the values as its reader does.
"""

from __future__ import annotations

import json
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


def kept(text: str) -> str:
    """Return a text as a table keeps it: a line in English and, if it is a phrase, a line below that knows its making.

    Hosts may read the first line, in SQL too.
    """
    return f"{text}\n{json.dumps(_recipe(text))}" if isinstance(text, Phrase) and text else text


def recalled(line: str) -> Phrase:
    """Return a text that was :func:`kept`, also one of an older version, which had no line below."""
    text, _, recipe = line.rpartition("\n")
    try:
        made = _remade(json.loads(recipe))
    except Exception:  # whatever stands there, the text itself is shown
        return foreign(line)
    return made if isinstance(made, Phrase) and made == text else foreign(line)


def _recipe(value: Any) -> Any:
    """Return what JSON can hold of a phrase, or of a value in one."""
    match value:
        case Phrase():
            values = {name: _recipe(each) for name, each in value.values.items()}
            many = {"many": value.many, "number": value.number} if value.many else {}
            return {"template": value.template, "values": values, **many}
        case Numeral():
            return {"numeral": str(value)}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case date():
            return {"day": f"{value:%Y-%m-%d}"}
        case tuple() | list():
            return list(map(_recipe, value))
    return value


def _remade(recipe: Any) -> Any:
    match recipe:
        case {"template": str(template), "values": dict(values)}:
            many, number = str(recipe.get("many", "")), int(recipe.get("number", 0))
            return Phrase._made(template, many, number, {name: _remade(each) for name, each in values.items()})
        case {"numeral": str(written)}:
            return Numeral(written)
        case {"seconds": seconds}:
            return timedelta(seconds=seconds)
        case {"day": str(day)}:
            return date.fromisoformat(day)
        case list():
            return list(map(_remade, recipe))
    return recipe


def _written(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.0f} seconds"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    return ", ".join(map(_written, value)) if isinstance(value, (tuple, list)) else str(value)

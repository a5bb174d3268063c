"""The catalogues as people write them, and the texts of the package that stand in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import lxml.html
from babel.messages.pofile import read_po
from markupsafe import Markup

from flask_mailtrack.languages import FOLDER, LANGUAGES, Words, words

PACKAGE = FOLDER.parent
TRANSLATED = [language for language in LANGUAGES if language != "en"]
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%")


class Entry(NamedTuple):
    """One entry of a catalogue.

    :param texts: in English: one, or the singular and the plural.
    :param forms: the translation, in each form that the language has for numbers.
    """

    texts: tuple[str, ...]
    forms: tuple[str, ...]


def entries(language: str) -> list[Entry]:
    """Return the entries of a catalogue. None is fuzzy."""
    with (FOLDER / language / "LC_MESSAGES" / "mailtrack.po").open("rb") as file:
        read = [each for each in read_po(file, locale=language) if each.id]
    assert not any(each.fuzzy for each in read)
    return [Entry(_all(each.id), _all(each.string)) for each in read]


def _all(text: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def catalogue(language: str) -> dict[str, tuple[str, ...]]:
    """Return the forms of the translation of each English text."""
    return {text: entry.forms for entry in entries(language) for text in entry.texts}


def pairs(language: str, said: Collection[str]) -> list[tuple[str, str]]:
    """Return each of some English texts with each form of its translation."""
    return [(text, form) for text, forms in catalogue(language).items() if text in said for form in forms]


def loses_its_stop(text: str, form: str) -> bool:
    """Say whether one of two ends as a sentence, and the other as a label."""
    return form.endswith((".", "。")) != text.endswith(".")


def keeps_places(text: str, forms: tuple[str, ...]) -> bool:
    """Say whether a translation has the places of the text. The form for one, or for two, may go without the number."""
    wanted = sorted(PLACEHOLDER.findall(text))
    silent = sorted(name for name in wanted if name != "number")
    found = [sorted(PLACEHOLDER.findall(form)) for form in forms]
    return all(each == wanted or (len(forms) > 1 and each == silent) for each in found) and found[-1] == wanted


def phrases() -> Iterator[str]:
    """Yield each text that a module makes a phrase of. It must be a literal, or nobody could translate it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "phrases.py":
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                for text in _texts_of(call):
                    assert isinstance(text, ast.Constant), f"{path.name}:{text.lineno}: a phrase of no literal"
                    yield str(text.value)


def _texts_of(call: ast.Call) -> list[ast.expr]:
    match call.func:
        case ast.Name("Phrase"):
            return call.args
        case ast.Attribute(ast.Name("Phrase"), "counted"):
            return call.args[1:]
    return []


class Marked(Words):
    """The words of a language that stands between brackets, so that what is not translated stands outside of them."""

    def __call__(self, text: str, /, **values: Any) -> Markup:
        return Markup("⟦{}⟧").format(super().__call__(text, **values))

    def counted(self, number: float, one: str, many: str, /, **values: Any) -> Markup:
        return Markup("⟦{}⟧").format(super().counted(number, one, many, **values))


MARKED = Marked(words("en").language, words("en").catalogue)
_READ = ("aria-label", "title", "placeholder", "alt")
_FOREIGN = ("bdi", "code", "pre", "time", "script", "style", "option")
"""Elements with what others have written, or with no words."""
_SAME = ("HTML",)
"""Words of every language."""
_BRACKETS = re.compile(r"⟦[^⟦⟧]*⟧")


def unmarked(html: str) -> list[str]:
    """Return the words of a page in :data:`MARKED` that were not handed over to be translated."""
    tree = lxml.html.fromstring(html)
    said = [each.get(name, "") for each in tree.iter("*") for name in _READ]
    for each in tree.xpath(" | ".join(f"//{name}" for name in _FOREIGN)):
        each.drop_tree()
    text = "\n".join([*said, *tree.itertext()])
    while _BRACKETS.search(text):
        text = _BRACKETS.sub("", text)
    return [word for word in re.findall(r"[A-Za-z]{2,}", text) if word not in _SAME]

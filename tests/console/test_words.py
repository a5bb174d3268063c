"""The console in the reader's language: every text has its translation, and no translation has a known fault."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from catalogues import (
    MARKED,
    PLACEHOLDER,
    TRANSLATED,
    catalogue,
    keeps_places,
    loses_its_stop,
    pairs,
    phrases,
    unmarked,
)
from conftest import MakeSite, Site
from console_visitor import Visitor
from jinja2 import Environment, nodes
from markupsafe import Markup
from written_rows import mail, summed

from flask_mailtrack import wording
from flask_mailtrack.console import (
    campaign,
    console,
    desk,
    domains,
    imports,
    inside,
    messages,
    outcomes,
    people,
    preferences,
    suppressions,
)
from flask_mailtrack.console.outcomes import ACTIVITIES, STATUSES
from flask_mailtrack.console.preferences import WAYS
from flask_mailtrack.console.sentences import DONE
from flask_mailtrack.events import now
from flask_mailtrack.incoming.calls import METHOD
from flask_mailtrack.languages import FOLDER, Words, words
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.timeline import _WHY
from flask_mailtrack.storage.people import import_jobs
from flask_mailtrack.storage.tables.consequences import SUPPRESSING

TEMPLATES = FOLDER.parent / "templates" / "mailtrack"
MODULES = FOLDER.parent / "console"
_IN_TEXT = re.compile(r"[A-Z]|%\(|\d+ [a-z]")
_SHORT = ("CSV", "%(day)s %(month)s", "%(day)s %(month)s %(year)s", "%(month)s %(year)s")
"""Texts without a word of English; other such literals are no texts."""
_CALLED = ("t", "_t", "missing")
_OF_RESULTS = ("/", "/campaigns", "/campaign?tag=spring", "/campaign/links?tag=spring", "/campaign/clients?tag=spring")
PAGES = (
    *_OF_RESULTS,
    "/domains",
    "/settings",
    "/machines",
    "/health",
    "/live",
    "/?period=9x&tag=none",
    "/campaign?tag=no",
)
_OF_ROWS = (
    *("/messages", "/messages?status=sent&untagged=1", "/people", "/unsubscribes", "/suppressions"),
    *("/suppressions/import",),
)


def of_templates() -> Iterator[str]:
    """Yield what templates translate, and each literal that begins like a text: tables hold what is translated."""
    for path in (path for pages in ("console", "mailbox") for path in (TEMPLATES / pages).glob("*.html")):
        tree = Environment().parse(path.read_text(encoding="utf-8"))  # noqa: S701 - it parses, and renders nothing
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "t" and isinstance(call.args[0], nodes.Const):
                yield call.args[0].value
            if isinstance(call.node, nodes.Getattr) and call.node.attr == "counted":
                yield from (text.value for text in call.args[1:] if isinstance(text, nodes.Const))
        for literal in tree.find_all(nodes.Const):
            if isinstance(literal.value, str) and _IN_TEXT.match(literal.value):
                yield literal.value


def of_modules() -> Iterator[str]:
    """Yield each literal that the modules of the console hand over to be translated."""
    for path in (*MODULES.glob("*.py"), FOLDER.parent / "wording.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in _CALLED and call.args:
                yield from _literals(call.args[0])
            if name == "counted":
                yield from (text for each in call.args[1:] for text in _literals(each))


def of_tables() -> Iterator[str]:
    """Yield the texts that modules keep in tables."""
    for each in DEFINITIONS.values():
        yield from (each.label, each.sentence, each.formula)
    yield from (*DONE.values(), *_WHY.values(), *wording.MONTHS)
    yield from (text for _, text in wording._UNITS)
    for table in (STATUSES, ACTIVITIES, preferences.WHY, preferences.WAYS, suppressions.REASONS):
        yield from table.values()
    yield import_jobs.STOPPED
    yield from (each.GONE for each in (messages, people, imports, suppressions))
    yield from (text for each in (*preferences._CHANGES.values(), *outcomes._TIMES) for text in each)
    for title, pages in desk.NAVIGATION:
        yield from (title, *(name for _, name in pages))
    yield from (title for title, _ in inside._GROUPS)
    yield from (text for _, _, text in (*inside._MARKS.values(), *domains._LEVELS.values(), domains._UNKNOWN))
    for module, function in (
        ("domains", "steps_of"),
        ("domains", "_state"),
        ("inside", "_said"),
        ("overview", "behind"),
        ("campaign", "bars"),
        ("outcomes", "outcome"),
        ("outcomes", "_why_nothing"),
        ("unsubscribes", "_bars"),
        ("imports", "imports"),
    ):
        yield from _of_function(module, function)
    yield from (title for _, title in campaign._DIMENSIONS)


def _of_function(module: str, name: str) -> Iterator[str]:
    tree = ast.parse((MODULES / f"{module}.py").read_text(encoding="utf-8"))
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef) and each.name == name:
            body = each.body[1:] if ast.get_docstring(each) else each.body
            yield from (text for line in body for text in _literals(line) if _IN_TEXT.match(text))


def _literals(tree: ast.AST) -> Iterator[str]:
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def said() -> set[str]:
    """Return every English text of the console and of the mailbox, with the phrases of the whole package."""
    found = {*of_templates(), *of_modules(), *of_tables(), *phrases()}
    return {text for text in found if re.search(r"[a-z]", PLACEHOLDER.sub("", text)) or text in _SHORT}


def literals() -> set[str]:
    """Return every literal of the package's templates and modules."""
    found: set[str] = set()
    for path in FOLDER.parent.rglob("*.py"):
        found.update(_literals(ast.parse(path.read_text(encoding="utf-8"))))
    for path in (each for kind in ("html", "txt") for each in (FOLDER.parent / "templates").rglob(f"*.{kind}")):
        tree = Environment().parse(path.read_text(encoding="utf-8"))  # noqa: S701 - it parses, and renders nothing
        found.update(str(each.value) for each in tree.find_all(nodes.Const))
    return found


SAID = said()
LITERALS = literals()


def test_the_search_finds_the_texts() -> None:
    """Texts of templates, of tables and of modules are all found."""
    assert len(SAID) > 500
    assert {"Overview", "Sent", "Nov", "in %(time)s", "7 days", "DNS record", "Everything is stored.", "Other"} <= SAID


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_of_the_console_is_translated(language: str) -> None:
    """Each text has a translation with the same places for values, and of one line."""
    translations = catalogue(language)
    assert sorted(SAID - translations.keys()) == []
    for text in SAID:
        for form in translations[text]:
            assert form.strip() == form != "", text
            assert not re.search(r"  |[\n<]", form), text
        assert keeps_places(text, translations[text]), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_left_of_a_text_that_has_gone(language: str) -> None:
    """Each English text of a catalogue stands in the package."""
    assert sorted(catalogue(language).keys() - LITERALS) == []


FAULTS = {
    "de": r"\"|'| [;:?!]|\b(?:du|dein|dir)\b|(?<!-)\bMails\b|\d%",
    "es": r"\"|'|“| [;:?!]|^[^¿]*\?|\b(?:tú|tu|tus)\b|\d%",
    "fr": r"\"|'|“|[^\u202f][;?!]|[^\u00a0\d]:|«[^\u202f]|[^\u202f]»|\d%|\b(?:tu|ton|tes)\b",
    "pt": r"\"|'|«| [;:?!]|\b(?:tu|teu|tua)\b",
    "zh": r"[。，；：？！、] |[\u4e00-\u9fff][,;?!]|[\u4e00-\u9fff]\.(?:$| )|你(?!们)",
    "ja": r"[。、：？！] |[\u3040-\u30ff\u4e00-\u9fff][,;?!]|あなた",
    "ar": r"[\u0600-\u06ff][,;?]|تريد|تود\b",
}
"""What a reader of each language meets as a fault: another language's signs, the wrong address, gaps."""


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_has_a_known_fault(language: str) -> None:
    """Signs and blanks are those of the language, and the reader is addressed in one way."""
    bad = [(text, form) for text, form in pairs(language, SAID) if re.search(FAULTS[language], form)]
    assert bad == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_sentence_stays_a_sentence(language: str) -> None:
    """What ends with a full stop in English does so in each language, and a label has none."""
    odd = [
        (text, form)
        for text, form in pairs(language, SAID)
        if len(text) > 12 and "flask mailtrack" not in text and loses_its_stop(text, form)
    ]
    assert odd == []


def test_no_page_says_what_the_search_does_not_find(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a page hands over to be translated is one of the texts that are looked for."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    mail(site, now(), "spring", 60, 30, 12)
    summed(site)
    asked: set[str] = set()

    class Heard(Words):
        def __call__(self, text: str, /, **values: Any) -> Markup:
            asked.add(text)
            return super().__call__(text, **values)

        def counted(self, number: float, one: str, many: str, /, **values: Any) -> Markup:
            asked.update((one, many))
            return super().counted(number, one, many, **values)

    german = words("de")
    heard = Heard(german.language, german.catalogue, german.content)
    monkeypatch.setattr(console, "reader_words", lambda babel, header: heard)
    visitor = Visitor(site, name="Mara")
    row = site.mailtrack.reports.messages().rows[0].id
    for path in (*PAGES, *_OF_ROWS, f"/messages/{row}", f"/people/{row}", f"/people/{row}/erase"):
        assert visitor.client.get(visitor.prefix + path).status_code in (200, 404)
    assert len(asked) > 200
    assert asked - SAID - set(phrases()) - {""} == set()


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/messages?page=x", 400, "Write `next` of the page before, or leave it out."),
        ("/unsubscribes?page=x", 400, "Write `next` of the page before, or leave it out."),
        ("/suppressions?page=x", 400, "Write `next` of the page before, or leave it out."),
        ("/domains/none.example.com", 404, "There is no such domain."),
        ("/static/none.css", 404, "There is no such page."),
    ],
)
def test_what_cannot_be_shown_is_told_in_the_language_of_the_page(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, status: int, told: str
) -> None:
    """A page that asks for what is not there, or that says nothing by itself, stands in the reader's language."""
    visitor = Visitor(site, name="1")
    monkeypatch.setattr(console, "reader_words", lambda babel, header: MARKED)
    page = visitor.get(path, status=status)
    assert told in re.sub("[⟦⟧]", "", page)
    assert set(unmarked(page)) <= {"Mail", "UTC"}


def test_figures_have_the_signs_of_the_language() -> None:
    """A number reads in German as Germans write it, and no English sign turns thousands into decimals."""
    german, french, chinese = words("de"), words("fr"), words("zh")
    assert wording.number(14269, german) == "14.269"
    assert wording.percent(0.0084, german) == "0,84\N{NO-BREAK SPACE}%"
    assert wording.points(-0.022, german) == "2,2 Prozentpunkte"
    assert wording.number(14269, french) == "14\N{NARROW NO-BREAK SPACE}269"
    assert wording.number(14269, chinese) == "14,269"


def test_a_text_that_nobody_has_translated_is_text() -> None:
    """What no catalogue knows stands as it is, and never as HTML."""
    assert words("de")("<b>") == words("en")("<b>") == "&lt;b&gt;"


def test_each_way_of_a_suppression_by_a_service_has_its_word() -> None:
    """The reader of an audit sees no word of the program for what a service has told."""
    assert {METHOD, *SUPPRESSING.values()} <= WAYS.keys()

"""Phrases: English text that a page can say in its reader's language."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import date, timedelta

import pytest
from markupsafe import Markup, escape

from flask_mailtrack.languages import words
from flask_mailtrack.phrases import Numeral, Phrase, foreign, kept, recalled


def test_a_phrase_is_english_text() -> None:
    """Reports, files and commands get a phrase as the string that it is."""
    phrase = Phrase("%(rate)s of “%(mail)s”", rate=Numeral("2.5%"), mail="A & B")
    assert phrase == "2.5% of “A & B”"
    assert json.dumps([phrase]) == json.dumps(["2.5% of “A & B”"])
    assert Phrase("All at 100%") == "All at 100%"


def test_a_phrase_counts() -> None:
    """One of a thing is told in the singular, and any other number in the plural."""
    told = [Phrase.counted(number, "%(number)s mail", "%(number)s mails") for number in (0, 1, 2)]
    assert told == ["0 mails", "1 mail", "2 mails"]


def test_a_copy_of_a_phrase_knows_as_much() -> None:
    """A copied phrase can still be said in another language, and so can one of another process."""
    phrase = Phrase.counted(1, "%(number)s day of %(name)s", "%(number)s days of %(name)s", name=foreign("x"))
    for same in (copy.deepcopy(phrase), pickle.loads(pickle.dumps(phrase))):  # noqa: S301 - it is our own
        assert same == "1 day of x"
        assert (same.template, same.many, same.number, same.values) == (phrase.template, phrase.many, 1, phrase.values)


def test_a_table_keeps_how_a_phrase_was_made() -> None:
    """The first line is English, for hosts to read; the second brings back each kind of value."""
    parts = (Phrase("Opens"), 2, Numeral("2.5%"), date(2026, 11, 24), timedelta(seconds=90), "100%(x)s\n{")
    phrase = Phrase.counted(3, "%(number)s day of %(of)s", "%(number)s days of %(of)s", of=parts)
    line = kept(phrase)
    assert line.startswith(f"{phrase}\n{{")
    again = recalled(line)
    assert (again, again.template, again.many, again.number) == (phrase, phrase.template, phrase.many, 3)
    assert words("de").say(again) == words("de").say(phrase)


@pytest.mark.parametrize(
    "line",
    [
        *("", "A plain text of long ago.", "two\nlines", 'x\n{"template": "y", "values": {}}', "x\n" + "[" * 9_000),
        *('x\n{"template": "%(a)s", "values": {}}', 'x\n{"template": "%(a)99999999999s", "values": {"a": 1}}', "x\n3"),
        'x\n{"template": "x", "values": {}, "many": "x", "number": []}',
    ],
    ids=range(9),
)
def test_a_text_that_no_phrase_made_is_shown_as_it_is(line: str) -> None:
    """A row of an older version, or one that somebody has changed, keeps its text, and nothing fails."""
    assert recalled(line) == line
    assert words("de").say(recalled(line)) == escape(line)


@pytest.mark.parametrize(("number", "told"), [(1, "1 Tag"), (1_000, "1.000 Tage")])
def test_a_page_says_a_number_as_its_reader_does(number: int, told: str) -> None:
    """A number takes the form and the signs of the language."""
    assert words("de").say(Phrase.counted(number, "%(number)s day", "%(number)s days")) == told


@pytest.mark.parametrize(
    ("language", "told"), [("de", "2,5\N{NO-BREAK SPACE}%, Öffnungen"), ("ja", "2.5%、開封"), ("en", "2.5%, Opens")]
)
def test_a_page_says_each_part_of_a_phrase(language: str, told: str) -> None:
    """Figures have the signs of the language, phrases within a phrase are translated, and so are commas."""
    assert words(language).say(Phrase("%(parts)s", parts=(Numeral("2.5%"), Phrase("Opens")))) == told


def test_what_others_have_written_stays_text() -> None:
    """A value is never HTML, and the page decides how it is written."""
    phrase = Phrase("%(number)s of %(of)s", number=date(2026, 11, 24), of="<b>")
    assert phrase == "2026-11-24 of <b>"
    assert words("de").say(phrase) == Markup("2026-11-24 von &lt;b&gt;")
    assert words("de").say(phrase, lambda value: "x") == "x von x"
    assert words("de").say("<i>", str.upper) == "&lt;I&gt;"
    assert Phrase("for %(time)s", time=timedelta(seconds=400)) == "for 400 seconds"


def test_text_from_right_to_left_keeps_latin_values_apart() -> None:
    """In Arabic, the signs of a host or a path stay where they belong."""
    told = words("ar").say(Phrase("%(number)s of %(of)s", number=3, of="/a/b."))
    assert "\N{FIRST STRONG ISOLATE}/a/b.\N{POP DIRECTIONAL ISOLATE}" in told

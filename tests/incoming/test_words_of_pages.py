"""The words of the public pages and of the footer: complete, and without the faults that each language knows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from catalogues import TRANSLATED, catalogue, keeps_places, loses_its_stop, pairs
from conftest import MakeSite, Site
from flask import render_template_string
from words_of_pages import SAME, said

from flask_mailtrack.languages import LANGUAGES, words

SAID = said()
QUOTES = {"ar": "«»", "de": "„“", "es": "«»", "fr": "«»", "ja": "「」", "pt": "“”", "zh": "“”"}


def translations(language: str) -> dict[str, tuple[str, ...]]:
    """Return the translations of what pages and footers say."""
    return {text: forms for text, forms in catalogue(language).items() if text in SAID}


def faulty(language: str, fault: str) -> list[str]:
    """Return the translations in which *fault*, a regular expression, is found."""
    return [form for _, form in pairs(language, SAID) if re.search(fault, form)]


def test_the_search_finds_the_texts() -> None:
    """Texts of pages, of tables, of plural forms and of the footer are all found."""
    assert {"Thank you", "Too many emails", "The full address.", "%(number)s days", "Unsubscribe:"} <= SAID
    assert len(SAID) > 75


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated(language: str) -> None:
    """Each text has a translation that is not empty, not the English text, and has the same placeholders."""
    found = translations(language)
    assert sorted(SAID - found.keys()) == []
    for text, forms in found.items():
        for form in forms:
            assert form.strip() == form != "", text
            assert (form == text) == ((language, text) in SAME), text
            assert "<" not in form
        assert keeps_places(text, forms), text


def test_english_is_plain() -> None:
    """English says "email", and none of the words of a translation or of an office."""
    words_of_offices = r"(?<!e)\bmails?\b|\bnoted\b|\ball the same\b|\bany more\b|\bfollow(?:ed)? (?:a )?link|Measuring"
    assert [text for text in SAID if re.search(words_of_offices, text, re.IGNORECASE)] == []


def test_french_has_its_own_spaces_before_signs() -> None:
    """A narrow space that does not break stands before ; ? ! and inside « », and a wide one before a colon."""
    assert faulty("fr", r"(?<!\u202f)[;?!»]|«(?!\u202f)|(?<!\u00a0):") == []
    assert faulty("fr", r"\u202f") != []


@pytest.mark.parametrize("language", sorted(set(TRANSLATED) - {"fr"}))
def test_other_languages_have_no_space_before_signs(language: str) -> None:
    """Only French has a space there."""
    assert faulty(language, rf"\s[;:?!.,；：？！。，、؛؟،»”」]|{QUOTES[language][0]}\s") == []


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_chinese_and_japanese_have_no_space_between_sentences(language: str) -> None:
    """No space, and no half-width sign, stands beside a full-width sign or character."""
    assert faulty(language, r"[。，；：？！、「」（）“”]\s|\s[。，；：？！、「」（）“”]|[\u3040-\u9fff][,;:?!.]") == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_language_has_its_own_quotes(language: str) -> None:
    """A title stands in the quotes of the language, and no other quotes stand anywhere."""
    others = "".join(sorted(set("\"'«»„“”‘「」『』") - set(QUOTES[language])))
    assert faulty(language, f"[{re.escape(others)}]") == []
    opening, closing = QUOTES[language]
    (heading,) = translations(language)["Unsubscribe from %(name)s?"]
    assert re.search(f"{opening}\u202f?%\\(name\\)s\u202f?{closing}", heading)


TERMS = {
    "ar": r"تريد|تود\b|تسجيل رغب|بالتسجيل|إيقاف التسجيل|تبعت|يُتبع",
    "de": r"\b(?:du|dein|dir)\b|(?<!-)\bMails?\b|\bMessung\b|\bgefolgt\b|Links folge",
    "es": r"\b(?:tú|tu|tus)\b|^Vuelve\b|registro\b|[Cc]ancelar suscripci|sigo enlaces|siguió|^[^¿]*\?",
    "fr": r"\b(?:tu|ton|tes)\b|inscri[ts]|\babonnée?\b|résilié|’enregistrement|suis des|suivi un|’ailleurs|de %\(name",
    "ja": r"あなた|宛先|符号|無視|どこにも",
    "pt": r"\b(?:tu|teu|tua)\b|\bregist(?:ad|o)|ligaç|num navegador|seguiu|sigo|o registro",
    "zh": r"你(?!们)|收件地址|(?<!邮箱)地址(?!。)|遵守|代码|说明。",
}
"""Words that the style sheet forbids: another address, a sign-up for tracking, a calque, an elision that is missing."""


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_reader_is_addressed_and_told_in_the_terms_of_the_language(language: str) -> None:
    """One form of address, and one term for one thing."""
    assert [form for form in faulty(language, TERMS[language]) if form != "IP 地址"] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_sentence_stays_a_sentence(language: str) -> None:
    """What ends with a full stop in English does so in each language, and a label has none."""
    assert [(text, form) for text, form in pairs(language, SAID) if loses_its_stop(text, form)] == []


NUMBERS: dict[str, dict[float, str]] = {
    "en": {1: "1 day", 2: "2 days", 1.5: "1.5 days", 3650: "3,650 days"},
    "ar": {1: "يوم واحد", 2: "يومان", 3: "3 أيام", 11: "11 يومًا", 100: "100 يوم", 365: "365 يومًا", 1.5: "1.5 يوم"},
    "de": {1: "1 Tag", 2: "2 Tage", 1.5: "1,5 Tage", 3650: "3.650 Tage"},
    "es": {1: "1 día", 2: "2 días", 1.5: "1,5 días"},
    "fr": {1: "1 jour", 2: "2 jours", 1.5: "1,5 jour", 2.5: "2,5 jours", 3650: "3\u202f650 jours"},
    "ja": {1: "1日", 365: "365日"},
    "pt": {1: "1 dia", 2: "2 dias", 1.5: "1,5 dia", 2.5: "2,5 dias"},
    "zh": {1: "1 天", 365: "365 天"},
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_number_of_days_takes_its_plural_form(language: str) -> None:
    """The number chooses the form, and has the signs of the language."""
    speech = words(language)
    told = {number: str(speech.counted(number, "%(number)s day", "%(number)s days")) for number in NUMBERS[language]}
    assert told == NUMBERS[language]


@pytest.mark.parametrize(
    ("language", "forms"), [("ar", 6), ("de", 2), ("es", 2), ("fr", 2), ("ja", 1), ("pt", 2), ("zh", 1)]
)
def test_each_language_has_as_many_plural_forms_as_it_needs(language: str, forms: int) -> None:
    """The plural texts have all forms of the language."""
    assert len(catalogue(language)["%(number)s days"]) == forms


def path_of(site: Site, kind: str, **options: Any) -> str:
    """Send a mail and return the path of one of its personal links."""
    sent = site.send(render_template_string(f'<a href="{{{{ {kind}_url() }}}}">x</a>'), **options)
    found = re.search('href="https?://[^/]+([^"]+)"', sent.html)
    assert found
    return found[1]


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_no_page_joins_sentences_with_a_space_where_the_language_has_none(make_site: MakeSite, language: str) -> None:
    """Sentences that a template puts one after the other touch, in titles, too."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    path = path_of(site, "preferences")
    headers = {"Accept-Language": language}
    pages = [site.client.get(f"{path}?statement", headers=headers).text]
    pages += [site.client.post(path, data={"action": name}, headers=headers).text for name in ("save", "decline")]
    joined = [re.findall(r"[。？！]\s+\S", re.sub(r"<[^>]*>", "<", page)) for page in pages]
    assert [found for each in joined for found in each if not found.endswith("<")] == []
    assert "。" in re.findall("<title>(.*)</title>", pages[1])[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tag_names_what_is_spoken(language: str) -> None:
    """Portuguese is Brazilian and Chinese has simplified characters; Arabic alone is written from right to left."""
    assert words(language).tag == {"pt": "pt-BR", "zh": "zh-Hans"}.get(language, language)
    assert words(language).direction == ("rtl" if language == "ar" else "ltr")

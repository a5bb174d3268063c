"""The pages in the reader's language: complete, compiled, marked as what they are, and chosen by whoever reads."""

from __future__ import annotations

import gettext
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask_babel
import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from catalogues import TRANSLATED, catalogue
from conftest import MakeSite, Site
from flask import render_template_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from words_of_pages import SAME, said

from flask_mailtrack.languages import FOLDER, LANGUAGES, words

HEADINGS = {
    "en": "Unsubscribe from our emails?",
    "ar": "إلغاء الاشتراك في رسائلنا؟",
    "de": "Von unseren E-Mails abmelden?",
    "es": "¿Darse de baja de nuestros correos?",
    "fr": "Se désabonner de nos e-mails\N{NARROW NO-BREAK SPACE}?",
    "ja": "メールの配信を停止しますか？",
    "pt": "Cancelar a inscrição em nossos e-mails?",
    "zh": "确定要退订我们的邮件吗？",
}


def source(language: str) -> Path:
    """Return the catalogue that people write."""
    return FOLDER / language / "LC_MESSAGES" / "mailtrack.po"


@pytest.mark.parametrize("language", TRANSLATED)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    """The ``.mo`` in the package is made of the ``.po`` beside it: run pybabel compile after a change."""
    with source(language).open("rb") as file:
        compiled = io.BytesIO()
        write_mo(compiled, read_po(file, locale=language))
    with source(language).with_suffix(".mo").open("rb") as shipped:
        here = gettext.GNUTranslations(shipped)
    compiled.seek(0)
    there = gettext.GNUTranslations(compiled)
    for text in catalogue(language):
        assert here.gettext(text) == there.gettext(text)
    for number in (0, 1, 2, 3, 11, 100):
        one, many = "%(number)s day", "%(number)s days"
        assert here.ngettext(one, many, number) == there.ngettext(one, many, number)


def path_of(site: Site, kind: str = "unsubscribe", **options: Any) -> str:
    """Send a mail and return the path of one of its personal links."""
    sent = site.send(render_template_string(f'<a href="{{{{ {kind}_url() }}}}">x</a>'), **options)
    return urlsplit(re.findall('href="([^"]+)"', sent.html)[0]).path


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The unsubscribe path of a mail of no list."""
    return path_of(site)


@pytest.mark.parametrize(("language", "heading"), HEADINGS.items())
def test_each_language_is_spoken_and_marked(site: Site, path: str, language: str, heading: str) -> None:
    """The browser's first language decides; page and header say which it is, and which way it is written."""
    response = site.client.get(path, headers={"Accept-Language": f"{language},en;q=0.5"})
    assert f"<h1>{heading}</h1>" in response.text
    direction = "rtl" if language == "ar" else "ltr"
    assert f'<html lang="{LANGUAGES[language]}" dir="{direction}">' in response.text
    assert response.headers["Content-Language"] == LANGUAGES[language]
    assert response.headers.getlist("Vary") == ["Accept-Language"]
    bad = site.client.get("/m/u/bad", headers={"Accept-Language": language})
    assert (bad.status_code, bad.headers["Content-Language"]) == (404, LANGUAGES[language])


ASKED = {
    None: "en",
    "": "en",
    "*": "en",
    "de-AT": "de",
    "de-AT,en;q=0.9": "de",
    "pt-BR": "pt",
    "zh-CN": "zh",
    "zh-Hant-TW": "zh",
    "AR": "ar",
    "xx,yy": "en",
    "da,fr;q=0.5,en;q=0.4": "fr",
    "en;q=0.1,ja;q=0.9": "ja",
    "de;q=0": "en",
    "../../etc/passwd": "en",
    "de;q=nonsense": "en",
    "en," * 3000: "en",
}


@pytest.mark.parametrize(("header", "language"), ASKED.items(), ids=lambda value: str(value)[:20])
def test_what_a_browser_may_ask_for(site: Site, path: str, header: str | None, language: str) -> None:
    """The nearest language that we speak, and English where there is none."""
    response = site.client.get(path, headers={"Accept-Language": header} if header is not None else {})
    assert response.headers["Content-Language"] == LANGUAGES[language]


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_header_costs_a_page(site: Site, header: str) -> None:
    """Whatever stands in Accept-Language, there is a page in some language."""
    response = site.client.get("/m/u/bad", headers={"Accept-Language": header})
    assert response.status_code == 404
    assert response.headers["Content-Language"] in LANGUAGES.values()


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_page_in_every_language(make_site: MakeSite, language: str) -> None:
    """Each page and state is rendered from our templates in each language, small, and without a word of English."""
    site = make_site(MAILTRACK_LISTS={"news": {"title": "Tè", "description": "☕"}})
    headers = {"Accept-Language": language}
    leave, choose = path_of(site, list_id="news"), path_of(site, "preferences", list_id="news")
    actions: list[tuple[str, str]] = [(leave, name) for name in ("unsubscribe", "reason", "undo")]
    actions += [(choose, name) for name in ("save", "unsubscribe_all", "undo_all", "decline", "x")]
    answers = [site.client.get(path, headers=headers) for path in (leave, choose, f"{choose}?statement")]
    answers += [site.client.post(path, data={"action": name}, headers=headers) for path, name in actions]
    style = site.client.get("/m/static/mailtrack.css")
    for answer in answers:
        assert answer.status_code == 200
        assert len(answer.data) + len(style.data) <= 15_000
        assert "%(" not in answer.text
        shown = re.sub(r"<[^>]*>", "\n", answer.text)
        english = said() - {text for of, text in SAME if of == language}
        assert not english & {line.strip() for line in shown.splitlines()}
    style.close()


def test_values_are_escaped_in_every_language() -> None:
    """s76: what stands in a placeholder is text, whatever the translation around it."""
    for language in LANGUAGES:
        page = words(language)("Unsubscribe from %(name)s?", name="<b>%(x)s</b>")
        assert "&lt;b&gt;%(x)s&lt;/b&gt;" in page


@pytest.fixture(name="babel")
def _babel(site: Site) -> dict[str, Any]:
    """A host with Flask-Babel; what ``locale`` is set to is what its selector says."""
    says: dict[str, Any] = {}

    def select() -> Any:
        if isinstance(says["locale"], Exception):
            raise says["locale"]
        return says["locale"]

    flask_babel.Babel(site.app, locale_selector=select)
    return says


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de", "de"), ("pt_BR", "pt"), ("zh_Hans_CN", "zh"), ("da", "fr"), (RuntimeError("no user"), "fr")],
    ids=str,
)
def test_flask_babel_decides_where_it_is(
    site: Site, path: str, babel: dict[str, Any], locale: Any, language: str
) -> None:
    """The host's own choice is stronger than the browser's, unless we do not speak it, or it fails."""
    babel["locale"] = locale
    response = site.client.get(path, headers={"Accept-Language": "fr"})
    assert (response.status_code, response.headers["Content-Language"]) == (200, LANGUAGES[language])


def test_one_click_is_answered_in_english(site: Site, path: str) -> None:
    """No person reads it; a log may."""
    response = site.client.post(path, data={"List-Unsubscribe": "One-Click"}, headers={"Accept-Language": "de"})
    assert response.data == b"You are unsubscribed.\n"
    assert "Vary" not in response.headers

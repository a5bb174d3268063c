"""The footer of list mail: in the language of the mail, and in bytes that arrive."""

from __future__ import annotations

import email
import email.policy
import re
from typing import Any

import flask_babel
import pytest
from catalogues import TRANSLATED, catalogue
from conftest import MakeSite, Site
from flask import request

from flask_mailtrack.languages import LANGUAGES, words

WHY = "You are receiving this email because you are on one of our mailing lists."


def parts(sent: Any) -> dict[str, str]:
    """Return the text parts of a mail, decoded from its raw bytes as a mail program does, by subtype."""
    raw = sent.as_bytes()
    assert max(map(len, raw.splitlines())) <= 998
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert not list(parsed.defects)
    return {
        part.get_content_subtype(): part.get_content()
        for part in parsed.walk()
        if part.get_content_maintype() == "text"
    }


def why(language: str) -> str:
    """Return the sentence of the footer in a language."""
    return WHY if language == "en" else catalogue(language)[WHY][0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_footer_speaks_the_language_of_the_mail(site: Site, language: str) -> None:
    """Content-Language decides; the raw bytes hold sentence and link of both parts, and say language and direction."""
    tag = words(language).tag
    read = parts(site.send("<p>x</p>", body="x", list_id="news", extra_headers={"content-language": tag}))
    assert set(read) == {"plain", "html"}
    lines = read["plain"].splitlines()
    lines = lines[lines.index("-- ") + 1 :]
    assert lines[:2] == [why(language), str(words(language)("Unsubscribe:"))]
    assert re.fullmatch(r"https?://\S+/m/u/\S+", lines[2])
    assert f'<p lang="{tag}" dir="{"rtl" if language == "ar" else "ltr"}"' in read["html"]
    assert why(language) in read["html"]
    assert re.search(r'<a href="https?://[^"]+/m/u/[^"]+"[^>]*>' + str(words(language)("Unsubscribe")), read["html"])


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_footer_has_a_word_of_english(site: Site, language: str) -> None:
    """A reader of a mail in another language meets no foreign line."""
    sent = site.send(f'<html lang="{language}"><p>x</p></html>', body="x", list_id="news")
    assert "receiving" not in sent.html + sent.body
    assert ">Unsubscribe<" not in sent.html
    assert "Unsubscribe:" not in sent.body


@pytest.mark.parametrize(
    ("html", "headers", "language"),
    [
        ('<!doctype html>\n<HTML dir=ltr LANG="de-AT"><p>x</p>', {}, "de"),
        ("<html lang=fr><p>x</p>", {}, "fr"),
        ("<html xml:lang='x' lang='es'><p>x</p>", {}, "es"),
        ('<html lang="fr"><p>x</p>', {"Content-Language": "ja"}, "ja"),
        ("<p>x</p>", {"Content-Language": "da, pt-BR"}, "pt"),
        ('<html lang="da"><p>x</p>', {}, "en"),
        ('<html data-lang="de"><p lang="de">x</p>', {}, "en"),
        ("<html lang=><p>x</p>", {}, "en"),
    ],
)
def test_where_a_mail_says_its_language(site: Site, html: str, headers: dict[str, str], language: str) -> None:
    """The header is stronger than the html element; a language that is not spoken is passed over."""
    assert why(language) in site.send(html, list_id="news", extra_headers=headers).html


def test_the_language_of_the_app_is_for_mails_that_say_none(make_site: MakeSite) -> None:
    """MAILTRACK_LANGUAGE speaks for them, and is weaker than what a mail says."""
    site = make_site(MAILTRACK_LANGUAGE="zh")
    assert why("zh") in site.send("<p>x</p>", list_id="news").html
    assert why("de") in site.send('<html lang="de"><p>x</p>', list_id="news").html


def test_flask_babel_speaks_for_mails_that_say_none(make_site: MakeSite) -> None:
    """The locale in which the host renders its mail is that of the footer, unless a key names another."""
    site, named = make_site(), make_site(MAILTRACK_LANGUAGE="de")
    for each in (site, named):
        flask_babel.Babel(each.app, locale_selector=lambda: "fr")
    assert why("fr") in site.send("<p>x</p>", list_id="news").html
    assert why("de") in named.send("<p>x</p>", list_id="news").html


def test_a_locale_that_needs_a_request_costs_no_mail(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A worker has no request that a locale selector could look at: the footer is English, and nobody is warned."""
    flask_babel.Babel(site.app, locale_selector=lambda: request.accept_languages.best_match(["fr"]))
    assert WHY in site.send("<p>x</p>", list_id="news").html
    assert caplog.records == []
    with flask_babel.force_locale("fr"):
        assert why("fr") in site.send("<p>x</p>", list_id="news").html


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "shift_jis"])
def test_the_footer_fits_the_charset_of_the_mail(site: Site, charset: str) -> None:
    """HTML has references for what the charset cannot carry, and plain text is English then. The mail goes out."""
    given = {"Content-Language": "ar"}
    sent = site.send("<p>x</p>", body="x", list_id="news", charset=charset, extra_headers=given)
    read = parts(sent)
    assert WHY in read["plain"]
    assert "&#1578;" in read["html"]
    assert all("/m/u/" in part for part in read.values())
    fits = site.send(
        "<p>x</p>", body="x", list_id="news", charset="shift_jis", extra_headers={"Content-Language": "ja"}
    )
    assert all(why("ja") in part for part in parts(fits).values())

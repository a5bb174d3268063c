"""Whoever has left is not written to: however a list or an address is spelled, and whatever a switch says."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from conftest import PREFERENCES, UNSUBSCRIBE, MakeSite, Site
from flask_mail import Message
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.errors import ConfigError, UnknownList
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import normalise

ADA = "ada@example.com"
OUT = f'<a href="{UNSUBSCRIBE}">out</a>'
CHOOSE = f'<a href="{PREFERENCES}">choose</a>'
LISTS = {"News": {"title": "The News"}, "Tea & more": {"title": "Tea"}}


def arrives(site: Site, html: str = "<p>x</p>", to: str = ADA, **options: Any) -> bool:
    """Say whether a mail is sent."""
    return bool(site.send(html, to=[to], **options))


@pytest.mark.parametrize("spelling", ["news", "NEWS", " News ", "neWS\u00a0"])
def test_a_list_is_left_in_every_spelling(make_site: MakeSite, spelling: str) -> None:
    """Case and blanks of a list's name mail nobody who has left it."""
    site = make_site()
    site.mailtrack.suppress(ADA, "News")
    assert [row.list_id for row in site.rows("OptOut")] == ["news"]
    try:
        assert not arrives(site, list_id=spelling)
    except ValueError:
        assert not spelling.isprintable()
    assert arrives(site, list_id="newsletter")


@given(st.text())
def test_a_folded_name_stays_as_it_is(name: str) -> None:
    """Both Unicode forms and all cases of a name are one name, and to fold it again changes nothing."""
    assert folded(folded(name)) == folded(name)
    assert folded(f" {name} ") == folded(name)


def test_a_list_that_is_not_configured_is_an_error(make_site: MakeSite) -> None:
    """A typo is found where it is made, or before anything is sent, with the nearest name."""
    site = make_site(MAILTRACK_LISTS=LISTS)
    message = Message("x", recipients=[ADA], body="x")
    with pytest.raises(UnknownList, match="'News'"):
        site.mailtrack.track(message, list_id="newz")
    with pytest.raises(UnknownList, match="Tea & more"), site.mailtrack.options(list_id="tea and more"):
        pass
    with pytest.raises(UnknownList, match="'News'") as caught:
        site.send(extra_headers={"X-Mailtrack": "list=mews"})
    assert (caught.value.name, caught.value.nearest) == ("mews", "News")
    assert site.rows("Message") == []
    sent = site.send(list_id=" nEws")
    assert str(sent.extra_headers["List-Id"]).startswith("<news.")
    assert [row.list_id for row in site.rows("Message")] == ["news"]


def test_the_list_id_header_is_that_of_the_configured_name(make_site: MakeSite) -> None:
    """Mail programs sort by it, so it is made from the name as it is written in the configuration."""
    plain = make_site().send(list_id="Straße").extra_headers["List-Id"]
    site = make_site(MAILTRACK_LISTS={"Straße": {"title": "S"}})
    assert site.send(list_id="STRASSE").extra_headers["List-Id"] == plain


def test_two_names_of_one_list_stop_the_start(make_site: MakeSite) -> None:
    """Nobody could say which of them a person has left."""
    with pytest.raises(ConfigError, match="E165"):
        make_site(MAILTRACK_LISTS={"news": {"title": "A"}, "News ": {"title": "B"}})


def test_transactional_mail_is_of_no_list(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Both in one call is a mistake; in two places the reset mail goes out, and the log has a line."""
    caplog.set_level(logging.INFO)
    message = Message("x", recipients=[ADA], body="x")
    for both in (site.mailtrack.options, lambda **said: site.mailtrack.track(message, **said)):
        with pytest.raises(ValueError, match="transactional"):
            both(list_id="news", transactional=True)
    site.mailtrack.suppress(ADA)
    with site.mailtrack.options(list_id="news"):
        assert arrives(site, transactional=True)
        assert not arrives(site)
    assert any("transactional mail is of no list" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("by_option", [True, False])
def test_the_switch_is_not_about_the_opt_outs(make_site: MakeSite, by_option: bool) -> None:
    """Without headers and footer, too, a list is not mailed to who has left it; our placeholders are filled in."""
    site = make_site(MAILTRACK_UNSUBSCRIBE=by_option)
    options = {"unsubscribe": False} if by_option else {}
    sent = site.send(OUT, body="Hello", list_id="news", **options)
    assert "/m/u/" in sent.html
    assert "List-Unsubscribe" not in (sent.extra_headers or {})
    assert "/m/u/" not in sent.body
    site.mailtrack.suppress(ADA, "news")
    assert not arrives(site, list_id="news", **options)


def test_our_placeholders_are_filled_in_in_transactional_mail(site: Site) -> None:
    """No mail leaves with an address that leads nowhere."""
    sent = site.send(OUT + CHOOSE, body=UNSUBSCRIBE, transactional=True)
    assert ".invalid" not in sent.html + sent.body
    assert "/m/u/" in sent.body


WAYS: dict[str, dict[str, Any]] = {
    "our link": {"html": OUT},
    "our choices": {"html": CHOOSE},
    "text": {"html": None, "body": UNSUBSCRIBE},
    "AMP": {"alts": {"x-amp-html": OUT}},
    "header": {"extra_headers": {"list-unsubscribe": "<https://example.org/leave>"}},
    "option": {"unsubscribe": True},
}


@pytest.mark.parametrize("mail", WAYS.values(), ids=list(WAYS))
def test_a_mail_with_a_way_out_keeps_to_what_was_left(site: Site, mail: dict[str, Any]) -> None:
    """Of no list, it is about everything: it goes to who has left one list, and not to who has left all."""
    site.mailtrack.suppress(ADA, "news")
    assert arrives(site, **mail)
    site.mailtrack.suppress(ADA)
    assert not arrives(site, **mail)
    assert arrives(site)
    assert arrives(site, transactional=True, **{k: v for k, v in mail.items() if k != "unsubscribe"})


SPELLINGS = [
    "ada@example.com.",
    '"ada"@example.com',
    '"a\\da"@example.com',
    "<@relay.example,@b.example:ada@example.com>",
    "Ada <ADA@EXAMPLE.COM.>",
    '"Ada" <"ada"@example.com>',
    "ada(a comment)@example.com",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mailbox_is_left_in_every_spelling(site: Site, spelling: str) -> None:
    """However an address is written, it is the same person."""
    site.mailtrack.suppress(ADA, "news")
    assert not arrives(site, to=spelling, list_id="news")
    site.mailtrack.unsuppress(spelling, "news")
    assert site.rows("OptOut") == []


def test_both_unicode_forms_are_one_mailbox() -> None:
    """What looks alike is alike, before and behind the at sign."""
    assert normalise("jose\u0301@exa\u0308mple.com") == normalise("jos\u00e9@ex\u00e4mple.com")
    assert normalise("a@example\u3002com\u3002") == "a@example.com"


@given(st.one_of(st.text(), st.text('()<>@.,:;"\\ ab', max_size=40), st.integers(1, 5_000).map("(".__mul__)))
def test_no_text_breaks_the_reading_of_a_mailbox(text: str) -> None:
    """Whatever is given for an address, it has a spelling, and that of the spelling is the same."""
    assert isinstance(normalise(text), str)


@pytest.mark.parametrize("address", ["(" * 3_000, "<" * 3_000 + ADA, '"' * 3_001])
def test_what_is_no_address_is_a_value_error(site: Site, address: str) -> None:
    """Three thousand brackets are no mailbox, and no crash."""
    with pytest.raises(ValueError, match=r"address|too long"):
        site.mailtrack.suppress(address)


def test_an_import_names_the_line_of_what_is_no_address(site: Site, tmp_path: Any) -> None:
    """One line of brackets is rejected by its number, and the rows around it are imported."""
    path = tmp_path / "left.csv"
    path.write_text(f"email\n{ADA}\n{'(' * 3_000}\nbob@example.com\n")
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "suppress", "import", str(path)])
    assert "2 added, 0 stood already, 1 rejected" in result.output
    assert "line 3 is not an address" in result.output

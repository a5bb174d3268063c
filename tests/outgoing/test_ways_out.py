"""The ways out of a mail: ours and those of other services, and what a stranger's text makes of them."""

from __future__ import annotations

import html
import logging
import re
from typing import Any

import pytest
from conftest import BASE_URL, PLACEHOLDERS, PREFERENCES, UNSUBSCRIBE, MakeSite, Site
from flask import render_template_string
from jinja2 import DictLoader

from flask_mailtrack.outgoing.links import Links

PERSONAL = re.compile(r"/m/[up]/")
EVIL = "https://evil.example/?u="
MAIL: dict[str, dict[str, Any]] = {
    "list": {"list_id": "news"},
    "transactional": {"transactional": True},
    "untracked": {"opens": False, "clicks": False},
    "tracked": {},
}


@pytest.mark.parametrize("options", MAIL.values(), ids=MAIL)
@pytest.mark.parametrize("placeholder", [PREFERENCES, UNSUBSCRIBE, "[unsubscribe_url]", "*|UNSUB|*"])
def test_a_strangers_text_steals_no_token(make_site: MakeSite, placeholder: str, options: dict[str, Any]) -> None:
    """A URL in a comment that the host mails never comes out with the recipient's own link in it."""
    stolen = html.escape(f"{EVIL}{placeholder}")
    page = f'<p>{stolen}</p><a href="{stolen}">x</a><img src="{stolen}">'
    sent = make_site(MAILTRACK_FOOTER=False).send(
        page, body=f"See {EVIL}{placeholder} there", alts={"x-amp-html": f"<html amp4email>{page}</html>"}, **options
    )
    for part in (sent.html, sent.body, sent.alts["x-amp-html"]):
        assert not PERSONAL.search(part)
        assert html.unescape(part).count(f"{EVIL}{placeholder}") == (1 if part == sent.body else 3)


def test_a_placeholder_leaves_no_trace_of_its_key(site: Site) -> None:
    """Neither a preview nor the name of a link shows a placeholder, by which a stranger could learn the key."""
    page = f'<a href="{PREFERENCES}">choose</a> <a href="https://x.test/">more at {UNSUBSCRIBE}</a>'
    preview = site.mailtrack.preview(page)
    assert "mailtrack.invalid" not in repr(preview)
    assert preview.changes[0].before.startswith(f"{BASE_URL}/m/p/")
    site.send(page)
    site.mailtrack.flush()
    assert "mailtrack.invalid" not in site.rows("Link")[0].name


def test_placeholders_of_others_lead_out_of_mail_without_a_list(site: Site) -> None:
    """Where unsubscribing is on, a foreign template works without a list, and is about all mail."""
    page = '<a href="*|UNSUB|*">leave</a>'
    sent = site.send(page, body="Leave: %unsubscribe_url%")
    path = sent.body.partition(BASE_URL)[2]
    assert path in sent.html
    assert site.client.post(path).status_code == 200
    for carried in (page, f'<a href="{UNSUBSCRIBE}">x</a>', f'<a href="{PREFERENCES}">x</a>'):
        assert site.send(carried, to=["ada@example.com"]) == []
    assert site.send("<p>x</p>", to=["ada@example.com"], extra_headers={"List-Unsubscribe": "<mailto:x@y.org>"}) == []
    assert site.send(page, to=["ada@example.com"], list_id="any") == []
    for other in ("<p>x</p>", f"<!-- {UNSUBSCRIBE} -->"):
        assert len(site.send(other, to=["ada@example.com"])) == 1
    assert len(site.send(page, to=["ada@example.com"], transactional=True)) == 1


@pytest.mark.parametrize("options", [{"transactional": True}, {"unsubscribe": False}, {}], ids=str)
def test_a_placeholder_that_stays_is_told(
    make_site: MakeSite, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the host wants no way out, ours are filled in all the same, the others stay, and log and preview say so."""
    site = make_site(MAILTRACK_UNSUBSCRIBE=bool(options))
    with caplog.at_level(logging.WARNING):
        sent = site.send(f'<a href="*|UNSUB|*">x</a><a href="{UNSUBSCRIBE}">y</a>', body="{{ unsubscribe }}", **options)
    assert ("*|UNSUB|*" in sent.html, sent.body, "/m/u/" in sent.html) == (True, "{{ unsubscribe }}", True)
    (said,) = [record.getMessage() for record in caplog.records if "placeholders stay" in record.getMessage()]
    assert said.endswith("*|UNSUB|*, {{ unsubscribe }}")
    assert make_site(MAILTRACK_UNSUBSCRIBE=False).mailtrack.preview('<a href="*|UNSUB|*">x</a>').staying == (
        "*|UNSUB|*",
    )


def test_list_mail_without_a_way_out_is_told(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """A list mail from which no link leads out is named in the log, and by a preview; one with a footer is not."""
    site = make_site(MAILTRACK_FOOTER=False)
    with caplog.at_level(logging.WARNING):
        site.send(f"<!-- {UNSUBSCRIBE} -->", list_id="news", body=None)
        assert "mail of list 'news' has no link to leave it" in caplog.text
        caplog.clear()
        site.send(f'<a href="{UNSUBSCRIBE}">x</a>', list_id="news")
        site.send("<p>x</p>")
        assert caplog.text == ""
    assert not site.mailtrack.preview("<p>x</p>").dead_end
    assert site.mailtrack.preview("<p>x</p>", list_id="news").dead_end
    with_footer = make_site()
    assert not with_footer.mailtrack.preview("<p>x</p>", list_id="news").dead_end


@pytest.mark.parametrize(
    "written", ["http://*|UNSUB|*", "https://{{ unsubscribe }}", "*%7CUNSUB%7C*", "%7B%7B%20unsubscribe%20%7D%7D"]
)
def test_what_an_editor_made_of_a_placeholder_becomes_one_good_url(site: Site, written: str) -> None:
    """Neither a scheme before it nor an escape is left in the link."""
    sent = site.send(f'<p><a href="{written}">x</a></p>', list_id="news")
    assert re.search(rf'<a href="{BASE_URL}/m/u/[a-z2-7]{{68}}">x</a>', sent.html)
    assert "because you are on one of our" not in sent.html


@pytest.mark.parametrize("hidden", ["<!-- {} -->", "<style>a {{background: url({})}}</style>", '<a href="{}"></a>'])
@pytest.mark.parametrize("placeholder", [UNSUBSCRIBE, "*|UNSUB|*"])
def test_what_nobody_can_follow_is_no_way_out(site: Site, hidden: str, placeholder: str) -> None:
    """A placeholder in a comment or in CSS does not keep the footer out."""
    sent = site.send(f"<html><body><p>x</p>{hidden.format(placeholder)}</body></html>", list_id="news")
    assert "because you are on one of our" in sent.html


def test_an_amp_part_has_a_way_out(site: Site) -> None:
    """An AMP part gets a footer inside its body, and the placeholders of others are filled in."""
    amp = "<html ⚡4email><head></head><body><p>x</p>{}</body></html>"
    sent = site.send("<p>x</p>", alts={"x-amp-html": amp.format("")}, list_id="news")
    assert re.search(rf"<p>x</p><p .*{BASE_URL}/m/u/.*</p>\s*</body></html>$", sent.alts["x-amp-html"])
    written = amp.format('<a href="*|UNSUB|*">leave</a>')
    sent = site.send("<p>x</p>", alts={"x-amp-html": written}, list_id="news")
    start, end = written.split("*|UNSUB|*")
    assert sent.alts["x-amp-html"].startswith(f"{start}{BASE_URL}/m/u/")
    assert sent.alts["x-amp-html"].endswith(end)


def test_the_footer_is_rendered_once_per_body(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newsletter renders its footer once for each part, and each recipient's has a link of their own."""
    preparer, parts = site.mailtrack._state().office.preparer, []
    real = preparer.footer
    monkeypatch.setattr(preparer, "footer", lambda *asked: parts.append(asked[0]) or real(*asked))
    sent = site.send("<p>x</p>", to=[f"r{n}@example.com" for n in range(5)], body="x", list_id="news")
    assert parts == ["html", "txt"]
    assert len({re.search(r"/m/u/\w+", copy.html)[0] for copy in sent}) == 5
    assert len({re.search(r"/m/u/\w+", copy.body)[0] for copy in sent}) == 5


def test_a_footer_costs_the_links_that_are_in_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours has a link to leave, so no link to the preferences is signed for each recipient."""
    made: list[str] = []
    monkeypatch.setattr(Links, "preferences", lambda links: made.append("preferences") or "")
    sent = site.send("<p>x</p>", body="x", list_id="news")
    assert "/m/u/" in sent.html
    assert "/m/u/" in sent.body
    assert made == []


@pytest.mark.parametrize("use", ["{{ unsubscribe_url }}?lang=de", "{{ unsubscribe_url|urlencode }}"])
def test_a_footer_may_do_with_the_url_as_it_likes(site: Site, use: str) -> None:
    """A host's own footer that makes something else of the URL goes on working."""
    site.app.jinja_loader = DictLoader({"mailtrack/footer.html": f"<i>{use}</i> {{{{ preferences_url() }}}}"})
    sent = site.send("<p>News</p>", list_id="news")
    url = re.search(r"<(.*)>", sent.extra_headers["List-Unsubscribe"])[1]
    assert f"<i>{render_template_string(use, unsubscribe_url=url)}</i>" in sent.html


def test_every_kind_is_filled_in_by_the_helpers_of_templates(site: Site) -> None:
    """What the Jinja globals give is filled in, in every mail."""
    page = render_template_string(
        "{{ unsubscribe_link() }}<a href='{{ preferences_url() }}'>x</a>"
        "<a href='{{ tracking_optout_url() }}'>x</a>{{ tracking_pixel() }}<a href='{{ view_online_url() }}'>x</a>"
    )
    assert all(url in page for url in PLACEHOLDERS.urls.values())
    for options in MAIL.values():
        sent = site.send(page, **options)
        assert "mailtrack.invalid" not in sent.html
        assert (sent.html.count("/m/u/"), sent.html.count("/m/p/")) == (1, 2)

"""Leaving a list: only a POST does it, at once, and the next send keeps to it. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, MakeSite, Site
from flask import render_template_string
from jinja2 import DictLoader
from werkzeug.test import TestResponse

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.events import Kind
from flask_mailtrack.state import state_of
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.testing import BROWSER

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
LINK = '<p><a href="https://example.com/">go</a></p>'
LISTS = {
    "news": {"title": "The News", "description": "Each Monday."},
    **{name: {"title": name.title()} for name in ("offers", "another", "brand-new")},
}


def unsubscribe_path(message: Any) -> str:
    """Return the path of a mail's List-Unsubscribe URL."""
    return urlsplit(str(message.extra_headers["List-Unsubscribe"]).strip("<>")).path


def raw(site: Site, path: str, **options: Any) -> TestResponse:
    """Request a path that reaches the app as it is, without the test client's own decoding."""
    environ = {"PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1")}
    return site.client.open(path="/", environ_overrides=environ, **options)


def opt_outs(site: Site) -> list[tuple[str, str, str]]:
    """Return recipient, list and method of every opt-out."""
    return [(row.recipient, row.list_id, row.method) for row in site.rows("OptOut")]


def events(site: Site) -> list[tuple[str, str]]:
    """Return type and method of every event."""
    return [(row.type, row.method) for row in site.rows("Event")]


@pytest.fixture(name="site")
def _site(make_site: MakeSite) -> Site:
    """A site with one described list."""
    return make_site(MAILTRACK_LISTS=LISTS)


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The unsubscribe path of a mail to ada on the list ``news``."""
    return unsubscribe_path(site.send(LINK, list_id="news"))


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "urlencoded": ({"data": ONE_CLICK}, "one_click"),
    "multipart": ({"data": ONE_CLICK, "content_type": "multipart/form-data"}, "one_click"),
    "s56 empty": ({}, "post"),
    "s56 other field": ({"data": {"a": "b"}}, "post"),
    "s56 other value": ({"data": {"List-Unsubscribe": "Later"}}, "post"),
    "s56 text": ({"data": "List-Unsubscribe=One-Click", "content_type": "text/plain"}, "post"),
    "s56 JSON": ({"json": ONE_CLICK}, "post"),
    "s56 broken multipart": ({"data": b"--x\r\nrubbish", "content_type": "multipart/form-data; boundary=x"}, "post"),
    "s56 multipart without boundary": ({"data": b"rubbish", "content_type": "multipart/form-data"}, "post"),
    "s56 no content type": ({"data": b"\xff\xfe", "content_type": ""}, "post"),
    "unknown button": ({"data": {"action": "explode"}}, "post"),
}


@pytest.mark.parametrize(("body", "method"), BODIES.values(), ids=list(BODIES))
def test_a_post_unsubscribes_at_once(site: Site, path: str, body: dict[str, Any], method: str) -> None:
    """s54: whatever the body, the token is the authority: 200, plain text, no cookie, no redirect."""
    response = site.client.post(path, **body)
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert response.data == b"You are unsubscribed.\n"
    assert {"Set-Cookie", "Vary", "Location"}.isdisjoint(response.headers.keys())
    assert response.headers["Cache-Control"] == "no-store, private"
    assert opt_outs(site) == [("ada@example.com", "news", method)]
    assert events(site) == [("unsubscribed", method)]


def test_the_same_post_again_changes_nothing(site: Site, path: str) -> None:
    """A provider that retries gets the same answer, and there is one opt-out and one event."""
    answers = [site.client.post(path, data=ONE_CLICK) for _ in range(3)]
    assert {(a.status_code, a.data) for a in answers} == {(200, b"You are unsubscribed.\n")}
    assert opt_outs(site) == [("ada@example.com", "news", "one_click")]
    assert events(site) == [("unsubscribed", "one_click")]


def test_twenty_at_once_are_one(site: Site, path: str) -> None:
    """s55: concurrent posts of one link all get 200 and leave one opt-out."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.app.test_client().post(path, data=ONE_CLICK), range(20)))
    assert {a.status_code for a in answers} == {200}
    site.mailtrack.flush()
    assert opt_outs(site) == [("ada@example.com", "news", "one_click")]
    assert events(site) == [("unsubscribed", "one_click")]


Damage = Callable[[str], str]
BAD: dict[str, Damage] = {
    "no token": lambda path: "/m/u/",
    "no slash": lambda path: "/m/u",
    "s61 forged": lambda path: path[:-1] + ("a" if path[-1] != "a" else "b"),
    "random": lambda path: "/m/u/" + "a" * 68,
    "cut": lambda path: path[:-5],
    "s59 wildcards": lambda path: "/m/u/" + "%" * 34 + "_" * 34,
    "NUL": lambda path: path[:20] + "\0" + path[20:],
    "CRLF": lambda path: "/m/u/\r\nX: y",
    "not UTF-8": lambda path: "/m/u/\udcff\udcfe",
    "long": lambda path: "/m/u/" + "a" * 100_000,
    "markup": lambda path: "/m/u/<script>",
}


@pytest.mark.parametrize("damage", BAD.values(), ids=list(BAD))
def test_a_bad_token_is_not_found(site: Site, path: str, damage: Damage) -> None:
    """s61: what we did not sign gets 404, never 500, and nobody is unsubscribed."""
    for method, data in {"GET": None, "HEAD": None, "POST": ONE_CLICK}.items():
        response = raw(site, damage(path), method=method, data=data)
        assert response.status_code == 404
        assert b"script" not in response.data
    assert opt_outs(site) == []


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.CLICK, Kind.PREFERENCES])
def test_a_token_of_another_kind_does_not_unsubscribe(site: Site, path: str, kind: Kind) -> None:
    """s62: the token of a pixel or a link, which forwarded mails give away, cannot be replayed here."""
    state = site.mailtrack._state()
    tokens = state.signer.message(site.rows("Message")[0].id)
    token = tokens.recipient(kind, state.signer.recipient_refs("ada@example.com")[0])
    assert site.client.post(f"/m/u/{token}", data=ONE_CLICK).status_code == 404
    assert opt_outs(site) == []


USABLE: dict[str, Damage] = {
    "slash behind": lambda path: path + "/",
    "// before the token": lambda path: path.replace("/u/", "/u//"),
    "// in front": lambda path: "/" + path,
    "upper case": lambda path: path[:5] + path[5:].upper(),
    "full stop": lambda path: path + ".",
    "soft break": lambda path: path[:30] + "=\r\n" + path[30:],
}


@pytest.mark.parametrize("damage", USABLE.values(), ids=list(USABLE))
def test_usual_damage_does_not_keep_anybody_on_a_list(site: Site, path: str, damage: Damage) -> None:
    """A damaged URL still unsubscribes, and is never redirected to a cleaner one, which would lose the POST."""
    assert raw(site, damage(path), method="POST", data=ONE_CLICK).status_code == 200
    assert opt_outs(site) == [("ada@example.com", "news", "one_click")]


BIG = {
    "urlencoded": {"data": "a=" + "x" * 9_000, "content_type": "application/x-www-form-urlencoded"},
    "s67 multipart": {"data": {"comment": "x" * 9_000}, "content_type": "multipart/form-data"},
    "s67 many parts": {"data": {f"a{i}": "b" for i in range(1_000)}, "content_type": "multipart/form-data"},
    "s71 a comment of 1 MB": {"data": {"action": "reason", "reason": "other", "comment": "x" * 1_000_000}},
    "text": {"data": "x" * 9_000, "content_type": "text/plain"},
}


@pytest.mark.parametrize("body", BIG.values(), ids=list(BIG))
def test_a_big_body_is_refused(site: Site, path: str, body: dict[str, Any]) -> None:
    """s67: nobody needs more than 8 KB to leave a list."""
    response = site.client.post(path, **body)
    assert (response.status_code, response.mimetype) == (413, "text/plain")
    assert opt_outs(site) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_changes_nothing(site: Site, path: str, method: str) -> None:
    """s53, P6: scanners open every link of a mail; that unsubscribes nobody, whatever they add to it."""
    for query in ("", "?List-Unsubscribe=One-Click&action=unsubscribe", "?_method=POST"):
        response = site.client.open(path + query, method=method, headers={"X-HTTP-Method-Override": "POST"})
        assert response.status_code == 200
    site.mailtrack.flush()
    assert (opt_outs(site), events(site)) == ([], [])
    assert len(site.send(LINK, to=["ada@example.com"], list_id="news")) == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PROPFIND"])
def test_other_methods_are_refused(site: Site, path: str, method: str) -> None:
    """Only GET, HEAD and POST mean something here."""
    assert site.client.open(path, method=method, data=ONE_CLICK).status_code == 405
    assert opt_outs(site) == []


def test_the_page_asks(site: Site, path: str) -> None:
    """The page says whose mail and which list it is about, without showing the address, and has one button."""
    response = site.client.get(path, headers=BROWSER)
    page = response.text
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "<h1>Unsubscribe from <bdi>The News</bdi>?</h1>" in page
    assert "Each Monday." in page
    assert "a•••@e•••.com" in page
    assert "ada@example.com" not in page
    assert re.findall(r"<button[^>]*>(.*?)</button>", page) == ["Unsubscribe"]
    assert page.count("<form") == 1
    assert not re.search(r"<script|http-equiv|autofocus|onload|<input", page)
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Robots-Tag"] == "noindex"
    assert response.headers["Cache-Control"] == "no-store, private"


def press(site: Site, path: str, action: str, **fields: str) -> str:
    """Press a button of the page and return the next page."""
    response = site.client.post(path, data={"action": action, **fields}, headers=BROWSER)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    return response.text


def test_the_button_unsubscribes_and_offers_a_way_back(site: Site, path: str) -> None:
    """After the one button: what has happened, the way back, and the reasons, none of them chosen."""
    page = press(site, path, "unsubscribe")
    assert "<h1>You have been unsubscribed</h1>" in page
    assert "<strong><bdi>The News</bdi></strong>" in page
    assert 'value="undo">Subscribe again' in page
    assert re.findall(r'name="reason" value="(\w+)"', page) == [
        "too_often",
        "not_relevant",
        "never_signed_up",
        "wrong_person",
        "other",
    ]
    assert "checked" not in page
    assert opt_outs(site) == [("ada@example.com", "news", "page")]
    assert [e.verdict for e in site.rows("Event")] == ["human"]


def test_undo_subscribes_again(site: Site, path: str) -> None:
    """Undo takes the opt-out back, is an event of its own, and the next mail arrives."""
    press(site, path, "unsubscribe")
    page = press(site, path, "undo")
    assert "<h1>You are subscribed again</h1>" in page
    assert (opt_outs(site), events(site)) == ([], [("unsubscribed", "page"), ("subscribed", "page")])
    assert site.send(LINK, list_id="news").recipients == ["ada@example.com"]


def test_a_later_visit_says_how_things_are(site: Site, path: str) -> None:
    """Whoever has unsubscribed and looks again sees that, and may go back."""
    site.client.post(path, data=ONE_CLICK)
    page = site.client.get(path).text
    assert "<h1>You have been unsubscribed</h1>" in page
    assert 'value="undo"' in page


@pytest.mark.parametrize("action", ["undo", "undo_all"])
def test_undo_from_a_mail_of_no_list(make_site: MakeSite, action: str) -> None:
    """Where unsubscribing means everything, Undo is believed before the database knows of it."""
    site = make_site(MAILTRACK_DRAIN="manual")
    path = unsubscribe_path(site.send(LINK, unsubscribe=True))
    site.client.post(path)
    site.mailtrack.flush()
    assert opt_outs(site) == [("ada@example.com", "", "post")]
    assert "<h1>You are subscribed again</h1>" in press(site, path, action)
    site.mailtrack.flush()
    assert opt_outs(site) == []


def test_a_reason_is_kept_with_the_opt_out(site: Site, path: str) -> None:
    """The answer to "why" is stored with the opt-out and its event; it is no second unsubscribe."""
    press(site, path, "unsubscribe")
    page = press(site, path, "reason", reason="too_often", comment="Daily!")
    assert "<h1>Thank you</h1>" in page
    (row,) = site.rows("OptOut")
    (event,) = site.rows("Event")
    assert (row.reason, row.comment, event.reason, event.comment) == ("too_often", "Daily!", "too_often", "Daily!")


REASONS = {
    "unknown reason": ({"reason": "is_admin", "comment": ""}, "other", ""),
    "no reason": ({}, "other", ""),
    "s71 HTML": (
        {"reason": "other", "comment": "<script>alert(1)</script>"},
        "other",
        "<script>alert(1)</script>",
    ),
    "s71 too long": ({"reason": "other", "comment": "x" * 600}, "other", "x" * 500),
    "500 emoji": ({"reason": "other", "comment": "🙂" * 500}, "other", "🙂" * 500),
    "NUL": ({"reason": "other", "comment": "a\0b"}, "other", "ab"),
}


@pytest.mark.parametrize(("fields", "reason", "comment"), REASONS.values(), ids=list(REASONS))
def test_an_answer_is_data(site: Site, path: str, fields: dict[str, str], reason: str, comment: str) -> None:
    """s71: only known reasons are kept, comments are cut to 500 characters, and nothing of it is markup."""
    press(site, path, "unsubscribe")
    page = press(site, path, "reason", **fields)
    assert "<script" not in page
    assert [(row.reason, row.comment) for row in site.rows("OptOut")] == [(reason, comment)]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "{{ 7777*7777 }}", '"><img src=x onerror=alert(1)>'])
def test_titles_and_addresses_are_escaped(make_site: MakeSite, name: str) -> None:
    """s76: what the host or a mail says is text on the page."""
    site = make_site(MAILTRACK_LISTS={"news": {"title": name, "description": name}})
    path = unsubscribe_path(site.send(LINK, list_id="news", to='"<b>"@example.com'))
    for page in (site.client.get(path).text, press(site, path, "unsubscribe")):
        assert html.escape(name, quote=False)[:4] in page.replace("&#39;", "'").replace("&#34;", '"')
        assert "<script" not in page
        assert "<img" not in page
        assert "<b>" not in page
        assert "60481729" not in page


def test_the_next_send_keeps_to_it(site: Site, path: str) -> None:
    """P6: that list skips the person and says so in a row; other lists, other people and own business go on."""
    site.client.post(path, data=ONE_CLICK)
    sent = site.send(LINK, to=["Ada <ADA@example.com>", "bob@example.com"], list_id="news")
    assert [m.send_to for m in sent] == [{"bob@example.com"}]
    assert [m.status for m in site.rows("Message") if m.recipient == "ada@example.com"] == ["sent", "suppressed"]
    assert len(site.send(LINK, to=["ada@example.com"], list_id="offers")) == 1
    assert len(site.send(LINK, to=["ada@example.com"])) == 1


def test_the_next_send_keeps_to_it_before_any_drain(make_site: MakeSite) -> None:
    """An opt-out that is still only in the spool holds for the very next send."""
    site = make_site(MAILTRACK_DRAIN="manual")
    path = unsubscribe_path(site.send(LINK, list_id="news"))
    site.client.post(path, data=ONE_CLICK)
    assert site.rows("OptOut") == []
    assert len(site.send(LINK, to=["ada@example.com"], list_id="news")) == 0


def test_unsubscribing_from_everything_stops_every_list(site: Site, path: str) -> None:
    """The page's "everything" covers lists to come, but no mail that names no list."""
    press(site, path, "unsubscribe_all")
    assert opt_outs(site) == [("ada@example.com", "", "page")]
    assert "<h1>You have been unsubscribed</h1>" in site.client.get(path).text
    assert site.send(LINK, to=["ada@example.com"], list_id="brand-new") == []
    assert len(site.send(LINK, to=["ada@example.com"])) == 1


IGNORED = {"email": "victim@example.com", "id": "2", "list": "*", "list_id": "offers", "token": "x", "is_admin": "1"}


def test_who_and_which_list_are_in_the_token_alone(site: Site, path: str) -> None:
    """s57, s58, s60: parameters that name somebody else, or another list, mean nothing."""
    site.send(LINK, to="victim@example.com", list_id="news")
    site.client.post(f"{path}?{urlencode(IGNORED)}", data={**ONE_CLICK, **IGNORED})
    press(site, f"{path}?{urlencode(IGNORED)}", "unsubscribe", **IGNORED)
    assert opt_outs(site) == [("ada@example.com", "news", "one_click")]


def test_a_full_disk_is_not_an_unsubscribe(
    site: Site, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """s65: what could not be written is not claimed: 503, so that the provider tries again."""

    def full(*_: Any, **__: Any) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "append", full)
    for data in (ONE_CLICK, {"action": "unsubscribe"}):
        response = site.client.post(path, data=data)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert b"unsubscribed" not in response.data
    monkeypatch.undo()
    site.mailtrack.flush()
    assert opt_outs(site) == []
    assert [r.levelno for r in caplog.records if "opt-out" in r.getMessage()] == [logging.ERROR] * 2


def test_the_answer_waits_for_the_disk(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """s65: an opt-out is synced before its 200, whatever MAILTRACK_SPOOL_SYNC says."""
    synced: list[bool] = []
    append = Spool.append

    def watched(self: Spool, *records: Any, sync: bool = False) -> None:
        synced.append(sync)
        append(self, *records, sync=sync)

    monkeypatch.setattr(Spool, "append", watched)
    site.client.post(path, data=ONE_CLICK)
    press(site, path, "undo")
    assert synced == [True, True]


def test_no_database_is_needed(site: Site, path: str) -> None:
    """s65: with the database gone the answer is 200, for the disk has it, and the page goes without the address."""
    site.db.drop_all()
    assert site.client.post(path, data=ONE_CLICK).status_code == 200
    page = site.client.get(path).text
    assert "<h1>Unsubscribe from our emails?</h1>" in page
    assert "•" not in page
    assert "<h1>You have been unsubscribed</h1>" in press(site, path, "unsubscribe")


@pytest.mark.parametrize("error", [RuntimeError("drain"), KeyError("x")], ids=repr)
def test_a_failing_drain_does_not_fail_an_unsubscribe(
    site: Site, path: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk is done: trouble after that is for the log, not for the mail provider."""

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(state_of(site.app).drain, "try_run", broken)  # of this app alone
    assert site.client.post(path, data=ONE_CLICK).status_code == 200
    monkeypatch.undo()
    site.mailtrack.flush()
    assert opt_outs(site) == [("ada@example.com", "news", "one_click")]


def test_an_old_mail_still_unsubscribes(site: Site, path: str) -> None:
    """s66: with the message's row deleted the person is known by the token, and gets no list mail at all."""
    site.db.session.execute(sa.delete(site.mailtrack.models.Message))
    site.db.session.commit()
    page = site.client.get(path).text
    assert "our emails" in page
    assert site.client.post(path, data=ONE_CLICK).status_code == 200
    assert site.send(LINK, to=["ada@example.com"], list_id="news") == []
    assert site.send(LINK, to=["ada@example.com"], list_id="another") == []
    assert len(site.send(LINK, to=["bob@example.com"], list_id="news")) == 1
    assert len(site.send(LINK, to=["ada@example.com"])) == 1
    press(site, path, "undo")
    assert len(site.send(LINK, to=["ada@example.com"], list_id="news")) == 1


def test_an_old_mail_under_an_old_key_still_unsubscribes(make_site: MakeSite) -> None:
    """s66: the same after the secret has been rotated."""
    first, second = "the first secret, long enough", "the second secret, long enough"
    path = unsubscribe_path(make_site(SECRET_KEY=first).send(LINK, list_id="news"))
    site = make_site(SECRET_KEY=second, SECRET_KEY_FALLBACKS=[first])
    assert site.client.post(path, data=ONE_CLICK).status_code == 200
    assert site.send(LINK, to=["ada@example.com"], list_id="news") == []


def test_a_stranger_gets_the_same_page(site: Site, path: str) -> None:
    """s61: the answer does not say whether somebody was on a list, or had left it before."""
    first, second = (press(site, path, "unsubscribe") for _ in range(2))
    ids = re.compile(r'name="shown" value="[0-9a-f ]*"')  # known to nobody but who asked
    assert ids.sub("", second) == ids.sub("", first)


def test_the_headers_of_a_list_mail(site: Site) -> None:
    """RFC 8058: an https URL and the one-click word for list mail; neither for other mail."""
    sent = site.send(LINK, list_id="news")
    assert str(sent.extra_headers["List-Unsubscribe"]).startswith(f"<{BASE_URL}/m/u/")
    assert sent.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "List-Unsubscribe" not in (site.send(LINK).extra_headers or {})


TEMPLATE = (
    '<p><a href="{{ unsubscribe_url() }}">leave</a> {{ unsubscribe_link("Leave it") }} '
    '<a href="{{ preferences_url() }}">choose</a> <a href="{{ tracking_optout_url() }}">stop</a></p>'
)


@pytest.mark.parametrize("options", [{"list_id": "news"}, {}, {"opens": False, "clicks": False}], ids=repr)
def test_the_links_of_a_template(site: Site, options: dict[str, Any]) -> None:
    """The Jinja globals become the recipient's own links in HTML and text, also where nothing is tracked."""
    text = "Leave: {{ unsubscribe_url() }}\nChoose: {{ preferences_url() }}\n"
    sent = site.send(render_template_string(TEMPLATE), body=render_template_string(text), **options)
    for part in (sent.html, sent.body):
        assert ".invalid" not in part
    urls = re.findall(r'href="([^"]+)"', sent.html)
    assert [urlsplit(url).path[:5] for url in urls] == ["/m/u/", "/m/u/", "/m/p/", "/m/p/"]
    assert ">Leave it</a>" in sent.html
    in_text = re.findall(r"https://\S+", sent.body)
    assert [urlsplit(url).path[:5] for url in in_text] == ["/m/u/", "/m/p/"]
    for url in (*urls, *in_text):
        assert site.client.get(urlsplit(url).path).status_code == 200


def test_each_recipient_has_a_link_of_their_own(site: Site) -> None:
    """P2: the placeholder of one body becomes a different link for each recipient."""
    page = render_template_string(TEMPLATE)
    copies = site.send(page, to=["ada@example.com", "bob@example.com"], list_id="news")
    path = next(unsubscribe_path(m) for m in copies if m.send_to == {"bob@example.com"})
    assert path in next(m.html for m in copies if m.send_to == {"bob@example.com"})
    site.client.post(path, data=ONE_CLICK)
    assert [recipient for recipient, *_ in opt_outs(site)] == ["bob@example.com"]


@pytest.mark.parametrize("part", ["html", "body"])
def test_a_list_mail_without_a_link_gets_a_footer(site: Site, part: str) -> None:
    """A list mail always shows a way out, in both parts; where the author put one, nothing is added."""
    plain = {"html": "<p>News</p>", "body": "News"}
    without = site.send(plain["html"], body=plain["body"], list_id="news")
    with_link = site.send(
        render_template_string("<p>{{ unsubscribe_link() }}</p>"),
        body=render_template_string("{{ unsubscribe_url() }}"),
        list_id="news",
    )
    assert "You are receiving this email because you are on one of our mailing lists." in getattr(without, part)
    assert unsubscribe_path(without) in getattr(without, part)
    assert "because you are on one" not in getattr(with_link, part)
    assert getattr(with_link, part).count("/m/u/") == 1
    assert "/m/u/" not in getattr(site.send(plain["html"], body=plain["body"]), part)


def test_the_footer_can_be_switched_off(make_site: MakeSite) -> None:
    """MAILTRACK_FOOTER = False leaves the body to the author; the headers stay."""
    sent = make_site(MAILTRACK_FOOTER=False).send("<p>News</p>", body="News", list_id="news")
    assert (sent.body, "/m/u/" in sent.html) == ("News", False)
    assert "List-Unsubscribe" in sent.extra_headers


def test_the_footer_can_be_the_hosts(site: Site) -> None:
    """A host's own ``mailtrack/footer.html`` and ``.txt`` are taken."""
    site.app.jinja_loader = DictLoader(
        {"mailtrack/footer.html": "<i>{{ unsubscribe_url }}</i>", "mailtrack/footer.txt": "OUT {{ unsubscribe_url }}"}
    )
    sent = site.send("<p>News</p>", body="News", list_id="news")
    assert re.search(r"<i>https://\S+/m/u/\w+</i>", sent.html)
    assert re.search(r"\n\nOUT https://\S+/m/u/\w+$", sent.body)


FOREIGN = ["%%user_defined_unsubscribe_link%%", "<%asm_group_unsubscribe_raw_url%>", "*|UNSUB|*", "{{ unsubscribe }}"]


@pytest.mark.parametrize("placeholder", FOREIGN)
def test_placeholders_of_other_services_work(make_site: MakeSite, placeholder: str) -> None:
    """A template that was made for another service leads out here, in mail without a list too, unless switched off."""
    page, text = f'<p><a href="{placeholder}">out</a></p>', f"Out: {placeholder}"
    site = make_site()
    sent = site.send(page, body=text, list_id="news")
    path = unsubscribe_path(sent)
    assert (path in sent.html, path in sent.body) == (True, True)
    assert "because you are on one" not in sent.html
    unlisted = site.send(page, body=text)
    assert ("/m/u/" in unlisted.html, "/m/u/" in unlisted.body) == (True, True)
    assert "List-Unsubscribe" not in (unlisted.extra_headers or {})
    off = make_site(MAILTRACK_FOREIGN_PLACEHOLDERS=False).send(page, body=text, list_id="news")
    assert placeholder in off.body


def form_of(page: str, action: str) -> dict[str, str]:
    """Return what the undo button of a page sends."""
    shown = re.search(r'name="shown" value="([0-9a-f ]*)"', page)
    return {"action": action} | ({"shown": shown[1]} if shown else {})


def test_an_undo_lifts_what_its_page_has_shown(site: Site, path: str) -> None:
    """Who unsubscribes again elsewhere, after the page was made, stays unsubscribed, and the page does not deny it."""
    page = press(site, path, "unsubscribe")
    site.client.post(path, data=ONE_CLICK)
    answer = site.client.post(path, data=form_of(page, "undo"), headers=BROWSER).text
    assert "<h1>Your request has been saved</h1>" in answer
    assert "subscribed again" not in answer.partition("<form")[0]
    assert site.send(LINK, to=["ada@example.com"], list_id="news") == []
    answer = site.client.post(path, data=form_of(answer, "undo"), headers=BROWSER).text
    assert "<h1>You are subscribed again</h1>" in answer
    assert len(site.send(LINK, to=["ada@example.com"], list_id="news")) == 1


def test_an_undo_of_everything_does_not_deny_that_the_list_was_left(site: Site, path: str) -> None:
    """Who leaves the list while their page shows "everything" only is told that the undo of that is noted."""
    press(site, path, "unsubscribe_all")
    page = site.client.get(path, headers=BROWSER).text
    site.client.post(path, data=ONE_CLICK)
    answer = site.client.post(path, data=form_of(page, "undo_all"), headers=BROWSER).text
    assert "<h1>Your request has been saved</h1>" in answer
    assert "<h1>You have been unsubscribed</h1>" not in answer
    assert "You will no longer receive emails from" in answer
    assert site.send(LINK, to=["ada@example.com"], list_id="news") == []


def test_an_unsubscribe_link_is_about_its_own_list(site: Site, path: str) -> None:
    """Whoever holds it, as in a forwarded mail, sees and lifts nothing of another list, also by the page behind it."""
    other = unsubscribe_path(site.send(LINK, list_id="offers"))
    site.client.post(other, data=ONE_CLICK)
    page = site.client.get(path).text
    assert "offers" not in page.lower()
    assert 'name="shown"' not in page
    choices = str(re.findall(r'href="(/m/p/[a-z2-7]+)"', page)[0])
    page = site.client.get(choices).text
    assert "offers" not in page.lower()
    assert re.findall(r'name="shown" value="([^"]*)"', page) == [""]
    site.client.post(choices, data={"action": "save", "off": "offers", "list": "offers"})
    for action in ("undo", "undo_all"):
        for link in (path, choices):
            site.client.post(link, data={"action": action})
    assert [(list_id, method) for _, list_id, method in opt_outs(site)] == [("offers", "one_click")]
    assert events(site) == [("unsubscribed", "one_click")]

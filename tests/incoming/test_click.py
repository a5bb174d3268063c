"""The redirect: exactly to the author's URL, whatever is broken. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import base64
import html
import logging
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, MakeSite, Site
from flask import Flask
from werkzeug.test import TestResponse

from flask_mailtrack import signals
from flask_mailtrack.errors import SpoolError
from flask_mailtrack.events import Kind
from flask_mailtrack.incoming import hits
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.testing import BROWSER, Reader

TARGET = "https://shop.example/Offer?id=7&lang=en#top"
Damage = Callable[[str], str]


def link_path(site: Site, url: str = TARGET, **options: Any) -> str:
    """Send a mail with one link and return the path under which it is tracked."""
    reader = Reader(site.client, site.send(f'<p><a href="{html.escape(url)}">go</a></p>', **options))
    tracked = reader.links[0].url
    assert tracked.startswith(BASE_URL + "/m/c/"), "the link was not tracked"
    return urlsplit(tracked).path


def follow(site: Site, path: str, **options: Any) -> TestResponse:
    """Request a path that reaches the app as it is, without the test client's own decoding."""
    environ = {"PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1")}
    return site.client.open(path="/", environ_overrides=environ, headers=BROWSER, **options)


def clicks(site: Site) -> list[str]:
    """Return the URLs of all recorded clicks."""
    return [event.url for event in site.rows("Event") if event.type == "clicked"]


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The path of a good link to ``TARGET``."""
    return link_path(site)


EXACT = [
    "https://example.com",
    "https://example.com/",
    "http://example.com:8080/a",
    "HTTPS://Example.COM/Path?Query",
    "https://example.com/a|b",
    "https://example.com/?q[]=1&q[]=2",
    "https://example.com/?p=100%",
    "https://example.com/%7Euser/%2F/%zz?x=%e2%82%ac+%20",
    "https://example.com/it's;v=1,2/(x)/*!$@:~^`",
    "https://example.com/a//b/../c/./d?",
    "https://example.com/?#",
    "https://example.com/?copy=1&amp=2&lt;=3",
    'https://example.com/?q="quoted"<tag>',
    "https://example.com/?next=https://other.example/?a=1&b=2",
    "https://xn--bcher-kva.example/",
    "https://[2001:db8::1]:8443/x",
    "https://example.com/?token=" + "A" * (1_400 - 27),
]


@pytest.mark.parametrize("url", EXACT, ids=lambda url: url[:60])
def test_a_click_leads_where_the_author_said(site: Site, url: str) -> None:
    """s13, s96: the redirect is the author's URL, byte for byte, and so is the row."""
    response = site.client.get(link_path(site, url), headers=BROWSER)
    assert (response.status_code, response.headers["Location"]) == (302, url)
    assert clicks(site) == [url]


ENCODED = {
    "path": ("https://example.com/é/日本?q=ü#ö", "https://example.com/%C3%A9/%E6%97%A5%E6%9C%AC?q=%C3%BC#%C3%B6"),
    "s28 IDN host": ("https://bücher.example/ß", "https://b%C3%BCcher.example/%C3%9F"),
    "mixed": ("https://example.com/%20é%", "https://example.com/%20%C3%A9%"),
}


@pytest.mark.parametrize(("url", "header"), ENCODED.values(), ids=list(ENCODED))
def test_what_a_header_cannot_hold_is_encoded(site: Site, url: str, header: str) -> None:
    """Only non-ASCII characters are percent-encoded, as a browser would; the row keeps the author's spelling."""
    response = site.client.get(link_path(site, url), headers=BROWSER)
    assert (response.status_code, response.headers["Location"]) == (302, header)
    assert clicks(site) == [url]


def test_a_redirect_leaves_no_trace(site: Site, path: str) -> None:
    """s31: a temporary redirect that nobody keeps, without cookie, body, or referrer."""
    response = site.client.get(path, headers=BROWSER)
    assert response.status_code == 302
    assert response.data == b""
    assert response.headers["Cache-Control"] == "no-store, private"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Robots-Tag"] == "noindex"
    assert {"Set-Cookie", "Vary"}.isdisjoint(response.headers.keys())


def test_a_click_becomes_a_row(site: Site) -> None:
    """The event says which link of which copy was followed, by what, and from about where."""
    page = '<a href="https://example.com/a">a</a> <a href="https://example.com/b" data-mailtrack-name="hero">b</a>'
    sent = site.send(page)
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    Reader(client, sent).click("b")
    (event,) = site.rows("Event")
    (message,) = site.rows("Message")
    assert (event.message_id, event.type, event.verdict, event.verdict_reasons) == (
        message.id,
        "clicked",
        "human",
        ["ua_browser"],
    )
    assert (event.url, event.link, event.link_name, event.part) == ("https://example.com/b", 1, "hero", "html")
    assert (event.ip, event.client) == ("203.0.113.0", "Firefox")
    assert (message.click_count, message.clicked_at) == (1, event.occurred_at)


def test_a_head_request_is_no_click(site: Site, path: str) -> None:
    """s32: HEAD gets what GET gets, and counts nothing."""
    head = site.client.head(path)
    assert site.rows("Event") == []
    get = site.client.get(path)
    assert (head.status_code, list(head.headers)) == (302, list(get.headers))
    assert clicks(site) == [TARGET]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE"])
def test_other_methods_are_refused(site: Site, path: str, method: str) -> None:
    """s33, s34: there is nothing to send to a link."""
    assert site.client.open(path, method=method, data=b"x" * 100).status_code == 405
    assert site.rows("Event") == []


def test_options_gives_nothing_away(site: Site, path: str) -> None:
    """s33: OPTIONS names the methods, leads nowhere, and opens nothing to other sites."""
    response = site.client.options(path)
    names = list(response.headers.keys())
    assert response.status_code == 200
    assert not [name for name in names if name.startswith("Access-Control") or name == "Location"]


BAD: dict[str, Damage] = {
    "s01 no token": lambda path: "/m/c/",
    "s01 no slash": lambda path: "/m/c",
    "s02 random": lambda path: "/m/c/" + "a" * 68,
    "s03 one character": lambda path: path[:70] + ("b" if path[70] != "b" else "c") + path[71:],
    "s06 truncated": lambda path: path[:60],
    "s06 one character missing": lambda path: path[:20] + path[21:73],
    "s15 NUL": lambda path: path[:20] + "\0" + path[20:],
    "s15 CRLF": lambda path: "/m/c/\r\nLocation: https://evil.example",
    "s16 slash inside": lambda path: path[:20] + "/" + path[20:],
    "s19 not UTF-8": lambda path: path[:20] + "\udcff\udcfe" + path[20:],
    "s19 full width": lambda path: path[:5] + "\uff21" + path[6:],
    "s20 100 KB": lambda path: "/m/c/" + "a" * 100_000,
    "s20 100 KB behind a good token": lambda path: path[:73] + "/" + "a" * 100_000,
    "s24 a URL": lambda path: "/m/c/https://evil.example/",
    "s24 two slashes": lambda path: "/m/c//evil.example/",
    "s41 markup": lambda path: "/m/c/<script>alert(1)</script>",
}


@pytest.mark.parametrize("damage", BAD.values(), ids=list(BAD))
def test_a_bad_link_leads_nowhere(site: Site, path: str, damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is not ours gets a short page: no redirect, nothing of the request in it, no look at the database."""
    monkeypatch.setattr(Database, "rows", lambda *_: pytest.fail("the database was read"))
    response = follow(site, damage(path))
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "Location" not in response.headers
    assert response.headers["Cache-Control"] == "no-store, private"
    assert len(response.data) < 1_500
    assert not [word for word in (b"script", b"evil", b"aaaa", path[5:20].encode()) if word in response.data]


def test_all_bad_links_get_the_same_page(site: Site, path: str) -> None:
    """Nobody can tell a forged token from a broken one by the answer."""
    answers = {follow(site, damage(path)).data for damage in BAD.values()}
    assert len(answers) == 1


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.UNSUBSCRIBE, Kind.PREFERENCES])
def test_a_token_of_another_kind_is_no_link(site: Site, path: str, kind: Kind) -> None:
    """s04: the tokens of pixel and pages do not redirect, even with a good destination behind them."""
    token = site.mailtrack._state().signer.message(site.rows("Message")[0].id).recipient(kind, "a" * 16)
    assert follow(site, f"/m/c/{token}/{path.rpartition('/')[2]}").status_code == 404
    assert site.rows("Event") == []


def test_a_token_of_another_app_is_no_link(make_site: MakeSite) -> None:
    """s05: a link of one app leads nowhere on another one, even with the same secret."""
    path = link_path(make_site(MAILTRACK_APP_ID="a"))
    assert make_site(MAILTRACK_APP_ID="b").client.get(path).status_code == 404


def test_the_version_is_checked(site: Site, path: str) -> None:
    """s92: a token of an unknown version is refused."""
    assert follow(site, path.replace("/m/c/d", "/m/c/e", 1)).status_code == 404


USABLE: dict[str, Damage] = {
    **{f"s07 {mark} behind": (lambda path, mark=mark: path + mark) for mark in ").,;>]\"'*_!"},
    "s08 =": lambda path: path + "=",
    "s08 ==": lambda path: path + "==",
    "s08 =3D": lambda path: path + "=3D",
    "s09 soft break in the token": lambda path: path[:30] + "=\r\n" + path[30:],
    "s09 soft break in the destination": lambda path: path[:90] + "=\r\n" + path[90:],
    "s10 lower case": str.lower,
    "s10 upper case": lambda path: path[:5] + path[5:].upper(),
    "s10 upper-case token": lambda path: path[:5] + path[5:73].upper() + path[73:],
    "s11 &amp;": lambda path: path + "&amp;utm_source=x",
    "s17 // before the token": lambda path: path.replace("/c/", "/c//"),
    "s17 // before the destination": lambda path: path[:73] + "/" + path[73:],
    "s17 // in front": lambda path: "/" + path,
    "s18 slash behind": lambda path: path + "/",
    "s18 jsessionid": lambda path: path + ";jsessionid=1",
    "s18 dots": lambda path: path.replace("/c/", "/c/../c/"),
    "s19 zero width behind": lambda path: path + "\u200b",
    "destination cut": lambda path: path[:-10],
    "destination gone": lambda path: path[:73],
    "destination empty": lambda path: path[:74],
    "destination changed": lambda path: path[:80] + ("A" if path[80] != "A" else "B") + path[81:],
}


@pytest.mark.parametrize("damage", USABLE.values(), ids=list(USABLE))
def test_usual_damage_costs_no_click(site: Site, path: str, damage: Damage) -> None:
    """What mail programs and gateways do to a link does not keep it from its target, and it counts once."""
    response = follow(site, damage(path))
    assert (response.status_code, response.headers["Location"]) == (302, TARGET)
    assert clicks(site) == [TARGET]


def test_another_links_destination_is_not_taken(site: Site, path: str) -> None:
    """A destination is signed for its own link: pasted behind another one's token it is looked up instead."""
    other = link_path(site, "https://other.example/")
    assert follow(site, path[:74] + other[74:]).headers["Location"] == TARGET


def test_a_path_is_decoded_once(site: Site, path: str) -> None:
    """s14: percent-encoding is taken off once; a token that was encoded twice is refused."""
    once, twice = f"/m/c/%{ord(path[5]):02x}{path[6:]}", f"/m/c/%25{ord(path[5]):02x}{path[6:]}"
    assert site.client.get(once).headers["Location"] == TARGET
    assert site.client.get(twice).status_code == 404


def test_an_encoded_slash_is_a_slash(site: Site, path: str) -> None:
    """s16: ``%2F`` between token and destination does no harm."""
    assert site.client.get(path[:73] + "%2F" + path[74:]).headers["Location"] == TARGET


QUERIES = {
    "s12 parameters": "utm_source=x&fbclid=y",
    "s12 open redirect": "url=https://evil.example/&to=https://evil.example/&next=//evil.example",
    "s21 duplicates": "t=a&t=b",
    "s21 ten thousand": "&".join(f"a{i}={i}" for i in range(10_000)),
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))
def test_parameters_are_ignored_and_not_passed_on(site: Site, path: str, query: str) -> None:
    """Whatever is added to a link, it leads where the author said, and nowhere else."""
    response = site.client.get(f"{path}?{query}")
    assert (response.status_code, response.headers["Location"]) == (302, TARGET)


HEADERS = {
    "s22 long": {"User-Agent": "x" * 9_000, "Referer": "y" * 9_000, "Cookie": "z" * 9_000},
    "s36 prefetch": {"Sec-Purpose": "prefetch"},
    "s41 markup": {"User-Agent": "<script>", "Referer": "https://evil.example/<script>"},
    "s45 Host": {"Host": "evil.example"},
    "s46 forwarded": {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "ftp"},
    "s47 rewritten": {"X-Original-URL": "/evil", "X-Rewrite-URL": "/evil"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=list(HEADERS))
def test_no_request_header_changes_the_answer(site: Site, path: str, headers: dict[str, str]) -> None:
    """The answer depends on the link alone, also the page for a bad one."""
    for each in (path, "/m/c/bad"):
        plain, asked = site.client.get(each), site.client.get(each, headers=headers)
        assert (asked.status_code, asked.data) == (plain.status_code, plain.data)
        assert list(asked.headers) == list(plain.headers)
    assert [len(event.user_agent) <= 512 for event in site.rows("Event")] == [True, True]


HOSTILE = [
    "javascript:alert(1)",
    "JaVaScRiPt://example.com/%0aalert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://example.com/x",
    "//evil.example",
    "/\\evil.example",
    "https:evil.example",
    "http:///evil.example",
    "https://good.example\\@evil.example",
    "https://good.example@evil.example",
    "https://exa\tmple.com",
    "https://example.com/\r\nSet-Cookie: a=b",
    "https://example.com/\0",
    " https://example.com",
    "https://example.com:99999/",
    "https://[::1",
    "https://example%2ecom/",
    "https://...",
    "",
]


@pytest.mark.parametrize("url", HOSTILE, ids=repr)
def test_a_signed_link_may_still_not_lead_astray(site: Site, url: str) -> None:
    """s23 to s28: a destination that browsers read differently, or that runs, is refused even with our signature."""
    signer = site.mailtrack._state().signer
    site.send("<p>Hello</p>")
    (message,) = site.rows("Message")
    response = follow(site, "/m/c/" + signer.message(message.id).click(signer.stamp(0, url)))
    assert response.status_code == 404
    assert clicks(site) == []


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.example", "https://a.example\r\nX: y"], ids=repr)
def test_a_tampered_link_row_may_not_lead_astray(site: Site, path: str, url: str) -> None:
    """s23: what the database says of a damaged link is checked like everything else."""
    link = site.mailtrack.models.Link
    site.db.session.execute(sa.update(link).values(url=url))
    site.db.session.commit()
    assert follow(site, path[:73]).status_code == 404
    assert clicks(site) == []


def test_a_tracked_link_is_not_tracked_again(site: Site, path: str) -> None:
    """s29: a link of ours that is put into another mail stays as it is, so there is one redirect, never a loop."""
    url = BASE_URL + path
    assert Reader(site.client, site.send(f'<a href="{url}">go</a>')).links[0].url == url


def test_an_unknown_link_leads_nowhere(site: Site, path: str) -> None:
    """A damaged link whose row has been deleted gets the page for bad links."""
    site.db.session.execute(sa.delete(site.mailtrack.models.Link))
    site.db.session.commit()
    assert follow(site, path[:73]).status_code == 404
    assert follow(site, path).headers["Location"] == TARGET


def test_a_damaged_link_waits_for_the_database(site: Site, path: str) -> None:
    """Only the damaged link needs the database: while that cannot be read, it asks to be tried again."""
    site.db.drop_all()
    response = follow(site, path[:73])
    assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
    assert response.headers["Cache-Control"] == "no-store, private"
    assert "Location" not in response.headers
    assert follow(site, path).headers["Location"] == TARGET


def test_a_good_link_needs_no_database(site: Site, path: str) -> None:
    """The redirect does not wait for a database that is gone, and the click is there when it is back."""
    site.db.drop_all()
    assert follow(site, path).headers["Location"] == TARGET
    site.db.create_all()
    site.mailtrack.flush()
    assert clicks(site) == [TARGET]


def test_a_good_link_reads_nothing(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: following an intact link asks the database for nothing; the drain does, afterwards."""
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.Drain.try_run", lambda *_, **__: None)
    monkeypatch.setattr(Database, "rows", lambda *_: pytest.fail("the database was read"))
    assert follow(site, path).status_code == 302


def test_a_locked_database_does_not_hold_the_reader_up(site: Site, path: str) -> None:
    """While somebody else writes to the SQLite file, the redirect goes on and the row follows later."""
    file = site.db.engine.url.database
    holder = sqlite3.connect(str(file), isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        assert follow(site, path).headers["Location"] == TARGET
    finally:
        holder.close()
    site.mailtrack.flush()
    assert clicks(site) == [TARGET]


@pytest.mark.parametrize("error", [RuntimeError("drain"), OSError("disk"), KeyError("x")], ids=repr)
def test_a_failing_drain_is_not_the_readers_trouble(
    site: Site, path: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong after the click is on disk, the reader gets there."""

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.Drain.try_run", broken)
    assert follow(site, path).headers["Location"] == TARGET
    monkeypatch.undo()
    site.mailtrack.flush()
    assert clicks(site) == [TARGET]


def test_a_broken_spool_still_redirects(
    site: Site, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When nothing can be written the reader gets there, the host is told, and the record is in the log."""

    def full(*_: Any, **__: Any) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "append", full)
    failures: list[tuple[Any, str, Exception]] = []

    def receive(app: Flask, reason: str, error: Exception) -> None:
        failures.append((app, reason, error))

    with signals.tracking_failed.connected_to(receive, site.app):
        assert follow(site, path).headers["Location"] == TARGET
    ((app, reason, error),) = failures
    assert (app, reason, str(error)) == (site.app, "spool", "disk full")
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert f'"url":"{TARGET}"' in line
    assert '"type":"clicked"' in line


def test_a_mistake_of_ours_still_redirects(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error in our own labelling costs the reader nothing."""
    monkeypatch.setattr(hits, "keep_ip", lambda *_: 1 / 0)
    assert follow(site, path).headers["Location"] == TARGET


def test_failing_hooks_at_the_end_do_not_stop_a_redirect(site: Site, path: str) -> None:
    """s51: a host whose teardown function raises when our row is announced still redirects, and the row is kept."""
    torn: list[object] = []

    @site.app.teardown_appcontext
    def broken(error: object) -> None:
        torn.append(error)
        if len(torn) == 1:  # the context in which the signals are sent, before the request's own
            raise RuntimeError("host")

    def listen(app: object, event: object) -> None:
        """Without anybody who listens, there is no context to end."""

    with signals.link_clicked.connected_to(listen, site.app):
        assert follow(site, path).headers["Location"] == TARGET
    assert torn
    assert clicks(site) == [TARGET]


def test_the_hosts_session_is_not_touched(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """s51, P8: a host whose database session is broken still redirects, and what it has not committed stays so."""
    message = site.mailtrack.models.Message
    site.db.session.execute(sa.select(message).limit(1)).all()
    monkeypatch.setattr(site.db.session, "execute", lambda *_: pytest.fail("the host's session was used"))
    assert follow(site, path).headers["Location"] == TARGET


def test_old_keys_still_read(make_site: MakeSite) -> None:
    """A link that was signed with a key that is a fallback by now still leads there."""
    old = make_site(SECRET_KEY="the first secret, long enough")
    path = link_path(old)
    new = make_site(SECRET_KEY="the second secret, long enough", SECRET_KEY_FALLBACKS=["the first secret, long enough"])
    assert new.client.get(path).headers["Location"] == TARGET


def test_a_link_outlives_its_rows(site: Site, path: str) -> None:
    """P3: with message, link and list rows deleted, the link works and the event is kept."""
    for model in site.mailtrack.models:
        site.db.session.execute(sa.delete(model))
    site.db.session.commit()
    assert follow(site, path).headers["Location"] == TARGET
    assert clicks(site) == [TARGET]


def test_a_destination_is_not_secret_but_signed(site: Site, path: str) -> None:
    """s25: rewriting the readable destination inside the link does not change where it leads."""
    raw = base64.urlsafe_b64decode(path[74:] + "=" * (-len(path[74:]) % 4))
    forged = raw[:12] + b"https://evil.example/"
    segment = base64.urlsafe_b64encode(forged).decode().rstrip("=")
    assert follow(site, path[:74] + segment).headers["Location"] == TARGET

"""The pixel: one answer for every request, and a row for each that is ours. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import MakeSite, Site
from flask import Flask
from werkzeug.test import TestResponse

from flask_mailtrack import signals
from flask_mailtrack.errors import SpoolError
from flask_mailtrack.events import Kind
from flask_mailtrack.incoming import hits
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.testing import BROWSER, Reader

GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
Damage = Callable[[str], str]


def pixel_path(site: Site, **options: Any) -> str:
    """Send a mail and return the path of its pixel."""
    reader = Reader(site.client, site.send("<p>Hello</p>", **options))
    return urlsplit(reader._page.images[-1]).path


def raw(site: Site, path: str, **options: Any) -> TestResponse:
    """Request a path that reaches the app as it is, without the test client's own decoding."""
    return site.client.open(path="/", environ_overrides={"PATH_INFO": path.encode().decode("latin-1")}, **options)


@contextmanager
def failures_of(site: Site) -> Iterator[list[str]]:
    """Collect the reasons of ``tracking_failed``."""
    reasons: list[str] = []

    def receive(app: Flask, reason: str, error: Exception) -> None:
        assert app is site.app
        reasons.append(reason)

    with signals.tracking_failed.connected_to(receive, site.app):
        yield reasons


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The path of a good pixel."""
    return pixel_path(site)


def test_the_pixel_is_one_transparent_dot(site: Site, path: str) -> None:
    """A mail client gets a GIF of 43 bytes that nobody may keep."""
    response = site.client.get(path)
    assert (response.status_code, response.mimetype, len(response.data)) == (200, "image/gif", 43)
    assert response.data.startswith(b"GIF89a")
    assert response.headers["Cache-Control"] == "no-store, private"
    assert "ETag" not in response.headers
    assert "Last-Modified" not in response.headers


BAD: dict[str, Damage] = {
    "s01 no token": lambda path: "/m/o/",
    "s01 no slash": lambda path: "/m/o",
    "s02 random": lambda path: "/m/o/" + "a" * 68 + ".gif",
    "s03 one character": lambda path: path[:-10] + ("b" if path[-10] != "b" else "c") + path[-9:],
    "s06 truncated": lambda path: path[:-30] + ".gif",
    "s06 one character short": lambda path: path[:-5] + ".gif",
    "s15 NUL": lambda path: path[:20] + "\0" + path[20:],
    "s15 CRLF": lambda path: "/m/o/\r\nSet-Cookie: a=b",
    "s16 slash inside": lambda path: path[:20] + "/" + path[20:],
    "s19 not UTF-8": lambda path: path[:20] + "\udcff\udcfe" + path[20:],
    "s19 right to left": lambda path: path[:20] + "\u202e" + path[20:],
    "s20 100 KB": lambda path: "/m/o/" + "a" * 100_000,
    "s41 markup": lambda path: "/m/o/<script>alert(1)</script>.gif",
}


@pytest.mark.parametrize("damage", BAD.values(), ids=list(BAD))
def test_a_bad_pixel_looks_like_a_good_one(site: Site, path: str, damage: Damage) -> None:
    """Whoever tries tokens learns nothing: status, headers and body are those of a good one, and nothing is counted."""
    bad = damage(path).encode("utf-8", "surrogateescape").decode("latin-1")
    answer = site.client.open(path="/", environ_overrides={"PATH_INFO": bad})
    assert site.rows("Event") == []
    good = site.client.get(path)
    assert (answer.status_code, answer.data, list(answer.headers)) == (200, good.data, list(good.headers))


@pytest.mark.parametrize("kind", [Kind.CLICK, Kind.UNSUBSCRIBE, Kind.PREFERENCES])
def test_a_token_of_another_kind_is_no_open(site: Site, path: str, kind: Kind) -> None:
    """s04: a click or unsubscribe token on the pixel's route counts nothing."""
    state = site.mailtrack._state()
    other = state.signer.message(site.rows("Message")[0].id).recipient(kind, "a" * 16)
    assert site.client.get(f"/m/o/{other}.gif").status_code == 200
    assert site.rows("Event") == []


def test_a_token_of_another_app_is_no_open(make_site: MakeSite) -> None:
    """s05: apps that share a secret but have their own MAILTRACK_APP_ID do not read each other's tokens."""
    path = pixel_path(make_site(MAILTRACK_APP_ID="a"))
    other = make_site(MAILTRACK_APP_ID="b")
    assert other.client.get(path).status_code == 200
    assert other.rows("Event") == []


USABLE: dict[str, Damage] = {
    **{f"s07 {mark} behind": (lambda path, mark=mark: path + mark) for mark in ").,;>]\"'*_!"},
    "s07 . instead of .gif": lambda path: path.removesuffix("gif"),
    "s08 =": lambda path: path.removesuffix(".gif") + "=",
    "s08 =3D": lambda path: path.removesuffix(".gif") + "=3D",
    "s09 soft break": lambda path: path[:30] + "=\r\n" + path[30:],
    "s10 upper case": lambda path: path[:5] + path[5:].upper(),
    "s11 &amp;": lambda path: path + "&amp;x=1",
    "s17 // before the token": lambda path: path.replace("/o/", "/o//"),
    "s18 slash behind": lambda path: path + "/",
    "s18 jsessionid": lambda path: path + ";jsessionid=1",
    "s18 dots": lambda path: path.replace("/o/", "/o/../o/"),
    "s19 zero width behind": lambda path: path + "\u200b",
}


@pytest.mark.parametrize("damage", USABLE.values(), ids=list(USABLE))
def test_usual_damage_costs_no_open(site: Site, path: str, damage: Damage) -> None:
    """What mail programs and gateways do to a URL leaves the open, counted once."""
    assert raw(site, damage(path)).status_code == 200
    assert [event.type for event in site.rows("Event")] == ["opened"]


def test_a_path_is_decoded_once(site: Site, path: str) -> None:
    """s14: percent-encoding is taken off once; what was encoded twice is not ours."""
    site.client.get(path.replace("/o/", "/o/%25", 1)[: len("/m/o/%25")] + "61" + path[len("/m/o/") + 1 :])
    assert site.rows("Event") == []
    site.client.get(f"/m/o/%{ord(path[5]):02x}{path[6:]}")
    assert len(site.rows("Event")) == 1


CONDITIONS = {
    "s35 Range": {"Range": "bytes=0-9"},
    "s35 If-None-Match": {"If-None-Match": "*"},
    "s35 If-Modified-Since": {"If-Modified-Since": "Wed, 21 Oct 2099 07:28:00 GMT"},
    "s36 prefetch": {"Sec-Purpose": "prefetch"},
    "s47 unkeyed header": {"X-Forwarded-Host": "evil.example", "X-Original-URL": "/evil"},
}


@pytest.mark.parametrize("headers", CONDITIONS.values(), ids=list(CONDITIONS))
def test_no_request_header_changes_the_answer(site: Site, path: str, headers: dict[str, str]) -> None:
    """A cache or a prefetcher gets the whole image too, so each fetch is seen."""
    plain, asked = site.client.get(path), site.client.get(path, headers=headers)
    assert (asked.status_code, asked.data, list(asked.headers)) == (200, plain.data, list(plain.headers))
    assert len(site.rows("Event")) == 2


QUERIES = {
    "s12 parameters": "utm_source=x&fbclid=y",
    "s21 duplicates": "t=a&t=b",
    "s21 ten thousand": "&".join(f"a{i}={i}" for i in range(10_000)),
    "s40 src": "src=http://169.254.169.254/latest&url=file:///etc/passwd",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))
def test_parameters_are_ignored(site: Site, path: str, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a query string means anything to the pixel, and nothing is ever fetched for it."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    plain, asked = site.client.get(path), site.client.get(f"{path}?{query}")
    assert (asked.status_code, asked.data, list(asked.headers)) == (200, plain.data, list(plain.headers))


def test_a_head_request_is_no_open(site: Site, path: str) -> None:
    """s32: HEAD gets the headers of GET and counts nothing."""
    head = site.client.head(path)
    assert (head.status_code, head.data) == (200, b"")
    assert site.rows("Event") == []
    assert list(head.headers) == list(site.client.get(path).headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE"])
def test_other_methods_are_refused(site: Site, path: str, method: str) -> None:
    """s33, s34: only GET and HEAD have an image."""
    assert site.client.open(path, method=method, data=b"x" * 100).status_code == 405
    assert site.rows("Event") == []


def test_options_gives_nothing_away(site: Site, path: str) -> None:
    """s33: OPTIONS names the methods and opens nothing to other sites."""
    response = site.client.options(path)
    assert response.status_code == 200
    assert not [name for name in response.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
    assert site.rows("Event") == []


def test_an_open_becomes_a_row(site: Site, path: str) -> None:
    """The event says who opened, with what, from about where, and how sure we are."""
    site.client.get(path, headers=BROWSER, environ_base={"REMOTE_ADDR": "203.0.113.77"})
    (event,) = site.rows("Event")
    (message,) = site.rows("Message")
    assert (event.message_id, event.type, event.verdict) == (message.id, "opened", "human")
    assert event.verdict_reasons == ["ua_browser"]
    assert (event.ip, event.user_agent) == ("203.0.113.0", BROWSER["User-Agent"])
    assert (event.client, event.os, event.device) == ("Firefox", "Linux", "desktop")
    assert (event.url, event.link, event.provider) == ("", None, "")
    assert message.opened_at == event.occurred_at


def test_each_fetch_is_kept(site: Site, path: str) -> None:
    """s37: the same token fetched again is another row; the message counts them, and keeps the first moment."""
    for _ in range(3):
        site.client.get(path, headers=BROWSER)
    events = site.rows("Event")
    (message,) = site.rows("Message")
    assert (len(events), message.open_count) == (3, 3)
    assert message.opened_at == min(event.occurred_at for event in events)


MACHINES = {
    "no user agent": ({"User-Agent": ""}, "bot", ["ua_missing"]),
    "s36 Purpose": ({**BROWSER, "Purpose": "prefetch"}, "prefetch", ["header_purpose"]),
    "s36 Sec-Purpose": ({**BROWSER, "Sec-Purpose": "prefetch;prerender"}, "prefetch", ["header_sec_purpose"]),
    "Apple": ({"User-Agent": "Mozilla/5.0"}, "proxy", ["ua_apple_mpp"]),
    "Gmail": ({"User-Agent": GMAIL}, "proxy", ["ua_image_proxy"]),
}


@pytest.mark.parametrize(("headers", "verdict", "reasons"), MACHINES.values(), ids=list(MACHINES))
def test_machines_are_kept_and_labelled(
    site: Site, path: str, headers: dict[str, str], verdict: str, reasons: list[str]
) -> None:
    """A fetch by a machine is never dropped: the row says what it was, and why we think so."""
    assert site.client.get(path, headers=headers).status_code == 200
    (event,) = site.rows("Event")
    assert (event.verdict, event.verdict_reasons) == (verdict, reasons)


def test_a_scanner_right_after_sending_is_labelled(make_site: MakeSite) -> None:
    """s38: outside of tests, what fetches within seconds of sending is taken for a machine, and still served."""
    site = make_site(MAILTRACK_THRESHOLDS={"instant": 3})
    assert site.client.get(pixel_path(site), headers=BROWSER).status_code == 200
    (event,) = site.rows("Event")
    assert (event.verdict, event.verdict_reasons) == ("scanner", ["timing_instant"])
    assert site.rows("Message")[0].machine_count == 1


def test_a_proxys_address_is_not_kept(site: Site, path: str) -> None:
    """The address of Gmail's proxy says nothing of the reader, so it is not stored."""
    site.client.get(path, headers={"User-Agent": GMAIL}, environ_base={"REMOTE_ADDR": "66.249.84.1"})
    assert [(e.ip, e.provider) for e in site.rows("Event")] == [("", "google")]


AGENTS = {
    "s22 8 KB": ("x" * 8192, "x" * 512),
    "s41 script": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "s41 template": ("{{7*7}} ${jndi:ldap://x} %s%n", "{{7*7}} ${jndi:ldap://x} %s%n"),
    "s41 terminal": ("\x1b[31mred", "\x1b[31mred"),
    "s111 NUL": ("a\0b", "ab"),
}


@pytest.mark.parametrize(("agent", "kept"), AGENTS.values(), ids=list(AGENTS))
def test_a_user_agent_is_data(site: Site, path: str, agent: str, kept: str) -> None:
    """Whatever a client calls itself is stored as text, cut to 512 characters and without NUL."""
    site.client.get(path, environ_overrides={"HTTP_USER_AGENT": agent})
    assert [event.user_agent for event in site.rows("Event")] == [kept]


ADDRESSES = {
    "IPv4": ("203.0.113.77", "203.0.113.0"),
    "IPv6": ("2001:db8:1:2::3", "2001:db8:1::"),
    "s43 not an address": ("unknown", ""),
    "with a port": ("203.0.113.77:1234", "203.0.113.0"),
    "IPv6 with a port": ("[2001:db8:1:2::3]:443", "2001:db8:1::"),
    "IPv6 in brackets": ("[2001:db8:1:2::3]", "2001:db8:1::"),
    "s43 a port of nobody": ("unknown:1234", ""),
    "s43 many": ("203.0.113.77, " * 1000, ""),
    "none": (None, ""),
}


@pytest.mark.parametrize(("address", "kept"), ADDRESSES.values(), ids=list(ADDRESSES))
def test_an_address_is_cut_before_it_is_kept(site: Site, path: str, address: str | None, kept: str) -> None:
    """s44: the network is kept, not the computer; what is no address is not kept at all."""
    environ = {"REMOTE_ADDR": address} if address else {}
    site.client.get(path, headers=BROWSER, environ_overrides=environ or {"REMOTE_ADDR": ""})
    assert [event.ip for event in site.rows("Event")] == [kept]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP"])
def test_nobody_can_choose_an_address(site: Site, path: str, name: str) -> None:
    """s42: only the connection's own address counts; a proxy is the host's to declare."""
    site.client.get(path, headers={**BROWSER, name: "198.51.100.9"}, environ_base={"REMOTE_ADDR": "203.0.113.77"})
    assert [event.ip for event in site.rows("Event")] == ["203.0.113.0"]


MODES = {
    "ip none": ({"MAILTRACK_IP": "none"}, "", BROWSER["User-Agent"]),
    "ip full": ({"MAILTRACK_IP": "full"}, "203.0.113.77", BROWSER["User-Agent"]),
    "agent none": ({"MAILTRACK_USER_AGENT": "none"}, "203.0.113.0", ""),
    "agent family": ({"MAILTRACK_USER_AGENT": "family"}, "203.0.113.0", "Firefox"),
}


@pytest.mark.parametrize(("config", "ip", "agent"), MODES.values(), ids=list(MODES))
def test_the_host_says_what_is_kept(make_site: MakeSite, config: dict[str, Any], ip: str, agent: str) -> None:
    """s44: the privacy settings decide before anything is stored, and the raw values are nowhere in the spool."""
    site = make_site(MAILTRACK_DRAIN="manual", **config)
    path = pixel_path(site)
    site.client.get(path, headers=BROWSER, environ_base={"REMOTE_ADDR": "203.0.113.77"})
    spooled = b"".join(p.read_bytes() for p in site.mailtrack._state().journals[0].directory.glob("*.jsonl"))
    assert (b"203.0.113.77" in spooled) == (ip == "203.0.113.77")
    assert (b"Gecko" in spooled) == (agent == BROWSER["User-Agent"])
    site.mailtrack.flush()
    assert [(event.ip, event.user_agent) for event in site.rows("Event")] == [(ip, agent)]


def test_a_hashed_address_is_the_same_all_day(make_site: MakeSite) -> None:
    """The hash tells two readers apart without saying where they are."""
    site = make_site(MAILTRACK_IP="hash")
    path = pixel_path(site)
    for address in ("203.0.113.77", "203.0.113.77", "203.0.113.78"):
        site.client.get(path, headers=BROWSER, environ_base={"REMOTE_ADDR": address})
    first, again, other = (event.ip for event in site.rows("Event"))
    assert first == again != other
    assert len(first) == 24


def test_a_broken_spool_still_gives_an_image(
    site: Site, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When nothing can be written the reader sees the image, and the record is in the log."""

    def full(*_: Any, **__: Any) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "append", full)
    with failures_of(site) as failures:
        assert site.client.get(path, headers=BROWSER).status_code == 200
    assert failures == ["spool"]
    (line,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert '"type":"opened"' in line.getMessage()
    assert "203.0.113.77" not in line.getMessage()


def test_a_mistake_in_reading_still_gives_an_image(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that upsets our own reader gets the image all the same."""
    monkeypatch.setattr("flask_mailtrack.tokens.Signer.read", lambda *_: 1 / 0)
    assert site.client.get(path).status_code == 200
    assert site.rows("Event") == []


def test_a_mistake_of_ours_still_gives_an_image(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error in our own code costs the reader nothing; the host is told."""
    monkeypatch.setattr(hits, "keep_ip", lambda *_: 1 / 0)
    with failures_of(site) as failures:
        assert site.client.get(path).status_code == 200
    assert failures == ["hit"]

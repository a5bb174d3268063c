"""``flask mailtrack check --live``: what stands between the readers and the app, seen from outside."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import MakeSite, Site, free_port
from werkzeug.serving import make_server

GOOD_SECRET = "a secret of at least thirty-two bytes"
Wsgi = Callable[[Any, Any], Any]
Serve = Callable[..., Site]


@pytest.fixture(name="serve")
def _serve(make_site: MakeSite) -> Iterator[Serve]:
    """Serve a site on loopback, with something in front of it."""
    servers = []

    def serve(front: Callable[[Wsgi], Wsgi] = lambda app: app) -> Site:
        port = free_port()
        site = make_site(SECRET_KEY=GOOD_SECRET, MAILTRACK_BASE_URL=f"http://127.0.0.1:{port}")
        server = make_server("127.0.0.1", port, front(site.app.wsgi_app), threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return site

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def check(site: Site) -> tuple[int, str]:
    """Run the command with a look from outside."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "check", "--live"])
    return result.exit_code, result.output


def answering(status: str, *headers: tuple[str, str], methods: str = "GET POST") -> Callable[[Wsgi], Wsgi]:
    """Something in front of the app that answers in its place."""

    def front(app: Wsgi) -> Wsgi:
        def inside(environ: Any, start: Any) -> Any:
            if environ["REQUEST_METHOD"] not in methods:
                return app(environ, start)
            start(status, [("Content-Type", "image/gif"), *headers])
            return [b""]

        return inside

    return front


def test_an_address_that_readers_reach_is_fine(serve: Serve) -> None:
    """Where nothing stands in between, both ways are open, and the look leaves no row."""
    site = serve()
    code, output = check(site)
    assert code == 0
    assert "C60" in output
    assert "a one-click POST comes through from outside" in output
    assert site.rows("Event") == site.rows("OptOut") == []


NO_STORE = ("Cache-Control", "no-store")
FRONTS = {
    "s48 a cache that keeps it": (answering("200 OK", NO_STORE, ("Age", "12"), methods="GET"), "kept by a cache"),
    "s48 a cache that hides it": (
        answering("200 OK", ("Cache-Control", "max-age=9"), methods="GET"),
        "kept by a cache",
    ),
    "a cookie": (answering("200 OK", NO_STORE, ("Set-Cookie", "a=b"), methods="GET"), "sets a cookie"),
    "a maintenance page": (answering("503 Later", methods="GET"), "answers 503"),
    "s68 a redirect to https": (
        answering("301 There", ("Location", "https://x.example/"), methods="POST"),
        "redirects",
    ),
    "a firewall": (answering("403 No", methods="POST"), "answered 403"),
}


@pytest.mark.parametrize(("front", "words"), FRONTS.values(), ids=list(FRONTS))
def test_what_stands_in_the_way_is_named(serve: Serve, front: Callable[[Wsgi], Wsgi], words: str) -> None:
    """s48, s68: a cache, a redirect or a wall in front of the app is an error, in words that name it."""
    code, output = check(serve(front))
    assert code == 1
    assert words in output


def narrow(status: str, *, cut: bool = False) -> Callable[[Wsgi], Wsgi]:
    """A proxy that has no room for a path of 800 characters, as uWSGI's buffer has none, or that cuts one off."""

    def front(app: Wsgi) -> Wsgi:
        def inside(environ: Any, start: Any) -> Any:
            path = environ["PATH_INFO"]
            if len(path) <= 800:
                return app(environ, start)
            if cut:
                return app(environ | {"PATH_INFO": path[:800]}, start)
            start(status, [("Content-Type", "text/html")])
            return [b""]

        return inside

    return front


LED_ASTRAY = answering("302 Found", ("Location", "https://portal.example/"), methods="HEAD")


@pytest.mark.parametrize(
    ("front", "words"),
    [
        (narrow("502 Bad Gateway"), "is answered 502"),
        (narrow("", cut=True), "is answered"),
        (LED_ASTRAY, "is answered 302"),
    ],
)
def test_what_has_no_room_for_our_longest_link_is_named(
    serve: Serve, front: Callable[[Wsgi], Wsgi], words: str
) -> None:
    """A proxy that refuses long paths, or cuts them, loses such clicks: an error (C62) that names uWSGI's setting."""
    code, output = check(serve(front))
    (line,) = [line for line in output.splitlines() if "C62" in line]
    assert (code, words in line, "buffer-size = 8192" in line) == (1, True, True)


def test_the_longest_link_leads_where_it_should(serve: Serve) -> None:
    """Where there is room, the check says how long a link may be, and keeps nothing of it."""
    site = serve()
    code, output = check(site)
    assert code == 0
    assert re.search(r"C62 .*the longest link, of \d{3,} characters, leads where it should", output)
    assert site.rows("Event") == []


def test_an_address_that_nobody_answers_is_named(make_site: MakeSite) -> None:
    """A base URL without a server behind it is an error, not a traceback."""
    code, output = check(make_site(SECRET_KEY=GOOD_SECRET, MAILTRACK_BASE_URL=f"http://127.0.0.1:{free_port()}"))
    assert code == 1
    assert "does not answer: ConnectionRefusedError" in output

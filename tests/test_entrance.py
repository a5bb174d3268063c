"""What comes in at the operators' pages, in whatever way a proxy passes it."""

from __future__ import annotations

import pytest
from conftest import MakeSite
from flask import Blueprint, Flask
from werkzeug.datastructures import Headers

from flask_mailtrack.entrance import from_elsewhere

OURS, THEIRS = "https://ops.example.com", "https://evil.example"


@pytest.mark.parametrize(
    ("headers", "host", "refused"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, "ops.example.com", False),
        ({"Sec-Fetch-Site": "none"}, "ops.example.com", False),
        ({"Sec-Fetch-Site": "same-site"}, "ops.example.com", True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OURS}, "ops.example.com", True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": THEIRS}, "10.0.0.1:8000", False),
        ({"Origin": OURS}, "ops.example.com", False),
        ({"Origin": THEIRS}, "ops.example.com", True),
        ({}, "ops.example.com", False),
        ({"Origin": OURS}, "OPS.example.com:8080", False),  # TLS ends at a proxy that hides it
        ({"Origin": OURS}, "127.0.0.1:8000", False),  # a proxy that does not pass the host
        ({"Origin": OURS}, "backend:8000", False),
        ({"Origin": OURS}, "[::1]:8000", False),
        ({"Origin": OURS}, "inner.example.net", True),
        ({"Origin": OURS, "X-Forwarded-Host": "cdn.example, ops.example.com"}, "inner.example.net", False),
        ({"Origin": "null"}, "ops.example.com", False),
        ({"Origin": "http://[broken"}, "ops.example.com", False),
    ],
)
def test_a_browser_tells_of_another_site(headers: dict[str, str], host: str, refused: bool) -> None:
    """A form is refused if the browser says so. No operator is locked out by a proxy, for a token guards it."""
    assert from_elsewhere(Headers(headers), host, alone=False) is refused


@pytest.mark.parametrize(
    ("headers", "host", "refused"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": OURS}, "10.0.0.1:8000", False),
        ({"Sec-Fetch-Site": "same-site", "Origin": OURS}, "ops.example.com", True),
        ({"Origin": OURS}, "ops.example.com", False),  # TLS ends at a proxy that hides it
        ({"Origin": f"{OURS}:8443"}, "ops.example.com", False),  # nginx with $host, which leaves the port out
        ({"Origin": f"{OURS}:8443"}, "ops.example.com:8443", False),
        ({"Origin": OURS, "X-Forwarded-Host": "ops.example.com"}, "127.0.0.1:8000", False),
        ({}, "127.0.0.1:5000", False),  # no browser
        ({"Origin": "http://127.0.0.1:5000"}, "127.0.0.1:5000", False),
        ({"Origin": "http://127.0.0.1:9999"}, "127.0.0.1:5000", True),
        ({"Origin": THEIRS}, "127.0.0.1:5000", True),
        ({"Origin": THEIRS}, "localhost:5000", True),
        ({"Origin": OURS}, "backend:8000", True),
        ({"Origin": "null"}, "ops.example.com", True),
        ({"Origin": "http://[broken"}, "ops.example.com", True),
        ({"Origin": "http://ops.example.com:99999"}, "ops.example.com", True),
    ],
)
def test_a_form_without_a_token_is_refused_where_nothing_can_be_compared(
    headers: dict[str, str], host: str, refused: bool
) -> None:
    """The mailbox has no login and no token, so that what another site may have sent is refused."""
    assert from_elsewhere(Headers(headers), host, alone=True) is refused


def test_no_method_gives_a_closed_page_away_below_a_prefix_with_a_variable(make_site: MakeSite) -> None:
    """Console and mailbox of an app with a language in its addresses, or in a blueprint of its own, are not there."""
    site = make_site(tables=False)
    app = Flask("shop")
    app.config.update(site.app.config, TESTING=False)
    parent = Blueprint("parent", __name__, url_prefix="/<lang>")
    parent.register_blueprint(site.mailtrack.console(), url_prefix="/mt")
    parent.register_blueprint(site.mailtrack.mailbox(), url_prefix="/box")
    app.register_blueprint(parent)
    client = app.test_client()
    for method in ("GET", "PUT", "DELETE", "BREW", "OPTIONS"):
        for path in ("/de/mt/settings", "/de/mt/settings/pause", "/de/box/empty", "/de/box/list"):
            assert client.open(path, method=method).status_code == 404, (method, path)

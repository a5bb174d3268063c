"""Questions about our own host names, asked of a running app."""

from __future__ import annotations

import pytest
from conftest import BASE_URL, MakeSite, Site

NONCE = "0123456789abcdef" * 2
HOST = "click.example.org"


def make_domain(site: Site) -> None:
    """Make a tracking domain of the site's own sender."""
    site.mailtrack.domains.create("example.org", "click", by="ops")


@pytest.mark.parametrize("door", [True, False])
def test_a_host_proves_that_it_reaches_this_app(make_site: MakeSite, door: bool) -> None:
    """The answer to a fresh question depends on the name in the request, and no cache keeps it."""
    site = make_site(MAILTRACK_FRONT_DOOR=door)
    signer = site.mailtrack.state().signer
    for host in (HOST, "links.example.com"):
        answer = site.client.get(f"/m/d/{NONCE}", base_url=f"https://{host}")
        assert (answer.status_code, answer.text) == (200, f"{signer.host_proof(host, NONCE)}\n")
        assert "no-store" in answer.headers["Cache-Control"]
    assert site.client.get("/m/d/anything", base_url=BASE_URL).status_code == 404
    assert site.client.post(f"/m/d/{NONCE}", base_url=BASE_URL).status_code == 405
    assert site.rows("Event") == []


def test_a_web_server_of_this_machine_may_ask_whom_it_serves(site: Site) -> None:
    """A tracking domain is ours, whatever its case; another name is not, nor is a question that was passed on."""
    make_domain(site)
    site.mailtrack.domains.list()
    ask = "/m/d/ask?domain="
    assert site.client.get(ask + HOST.upper()).status_code == 200
    assert site.client.get(ask + "evil.example").status_code == 404
    assert site.client.get("/m/d/ask").status_code == 404
    assert site.client.get(f"{ask}{HOST}&domain=evil.example").status_code == 404
    assert site.client.get(ask + HOST, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 404
    assert site.client.get(ask + HOST, environ_overrides={"REMOTE_ADDR": "203.0.113.7"}).status_code == 404


def test_a_web_server_elsewhere_needs_the_secret(make_site: MakeSite) -> None:
    """With a secret, the address does not matter, and the secret does."""
    site = make_site(MAILTRACK_ASK_SECRET="abc")
    make_domain(site)
    far = {"REMOTE_ADDR": "203.0.113.7"}
    assert site.client.get(f"/m/d/ask?domain={HOST}&secret=abc", environ_overrides=far).status_code == 200
    assert site.client.get(f"/m/d/ask?domain={HOST}&secret=ab", environ_overrides=far).status_code == 404
    assert site.client.get(f"/m/d/ask?domain={HOST}").status_code == 404

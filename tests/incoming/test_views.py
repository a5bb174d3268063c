"""Questions about our own host names, asked of a running app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader

from flask_mailtrack import Mailtrack

NONCE = "0123456789abcdef" * 2
HOST = "click.example.org"


def make_domain(site: Site) -> None:
    """Make a tracking domain of the site's own sender."""
    site.mailtrack.domains.create("example.org", "click", by="ops")


@pytest.mark.parametrize("door", [True, False])
def test_a_host_proves_that_it_reaches_this_app(make_site: MakeSite, door: bool) -> None:
    """The answer to a fresh question depends on the name in the request, and no cache keeps it."""
    site = make_site(MAILTRACK_FRONT_DOOR=door)
    signer = site.mailtrack._state().signer
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


HTML = '<p><a href="https://example.com/">go</a></p>'
KINDS = ("o", "c", "u", "p")


def paths(site: Site) -> dict[str, str]:
    """Return the path of each kind of link in a mail of a list."""
    sent = site.send(HTML, list_id="news")
    found = {kind: sent.html.split(f"{BASE_URL}/m/{kind}/")[1].split('"')[0] for kind in ("o", "c")}
    found["u"] = sent.extra_headers["List-Unsubscribe"].split("/m/u/")[1].split(">")[0]
    found["p"] = site.mailtrack.preferences_url("ada@example.com").split("/m/p/")[1]
    return {kind: f"/m/{kind}/{rest}" for kind, rest in found.items()}


def answers(site: Site, links: dict[str, str], host: str) -> list[int]:
    """Ask for each link on a host, and return the statuses."""
    return [site.client.get(links[kind], base_url=f"https://{host}").status_code for kind in KINDS]


def test_links_on_a_tracking_domain_need_no_trusted_host(make_site: MakeSite) -> None:
    """What an operator makes is ours though TRUSTED_HOSTS does not name it; another name is refused by Flask still."""
    site = make_site(TRUSTED_HOSTS=["www.example.com"])
    links = paths(site)
    make_domain(site)
    site.mailtrack._state().administration.in_use.now()
    assert answers(site, links, HOST) == [200, 302, 200, 200]
    assert answers(site, links, "evil.example") == [400] * 4
    assert answers(site, links, "www.example.com") == [200, 302, 200, 200]
    site.mailtrack.domains.remove(HOST, force=True)
    site.mailtrack._state().administration.in_use.now()
    assert answers(site, links, HOST) == [400] * 4


def test_a_link_leads_though_this_process_has_not_heard_of_its_host(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as nobody can say that a host is not ours, readers are served from memory, and the memory is renewed."""
    site = make_site(TRUSTED_HOSTS=["www.example.com"])
    links = paths(site)
    snapshot = site.mailtrack._state().administration.in_use.snapshot
    renewed: list[bool] = []
    monkeypatch.setattr(snapshot, "renew", lambda: renewed.append(True))
    asked: list[bool] = []
    monkeypatch.setattr(snapshot, "_ask", lambda: asked.append(True) or ())
    assert answers(site, links, "evil.example") == [400] * 4
    snapshot.forget()  # another process may have made the host since
    assert answers(site, links, HOST) == [200, 302, 200, 200]
    assert (len(renewed) >= 4, asked) == (True, [])


def test_a_host_proves_itself_before_anybody_trusts_it(make_site: MakeSite) -> None:
    """The check of a domain that was made a moment ago, in another process, gets its answer under TRUSTED_HOSTS."""
    site = make_site(TRUSTED_HOSTS=["www.example.com"])
    site.mailtrack._state().administration.in_use.now()
    answer = site.client.get(f"/m/d/{NONCE}", base_url="https://new.example.org")
    assert (answer.status_code, answer.text.strip()) == (
        200,
        site.mailtrack._state().signer.host_proof("new.example.org", NONCE),
    )


@pytest.mark.parametrize("options", [{"host_matching": True}, {"subdomain_matching": True}], ids=str)
def test_links_on_a_tracking_domain_need_no_route(tmp_path: Path, options: dict[str, Any]) -> None:
    """SERVER_NAME, host matching and subdomain matching know nothing of the host, and need not."""
    app = Flask("host", static_host="www.example.com" if "host_matching" in options else None, **options)
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        SERVER_NAME="www.example.com",
        TRUSTED_HOSTS=["www.example.com"],
        MAIL_DEFAULT_SENDER="news@example.org",
        MAILTRACK_BASE_URL=BASE_URL,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/a.sqlite3",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db))
    with app.app_context():
        db.create_all()
        links = paths(site)
        make_domain(site)
        site.mailtrack._state().administration.in_use.now()
        assert answers(site, links, HOST) == [200, 302, 200, 200]
        assert answers(site, links, "evil.example") == [400] * 4
        db.session.remove()
        db.engine.dispose()


def test_a_page_on_a_tracking_domain_is_the_hosts_own(make_site: MakeSite) -> None:
    """A template that calls url_for is rendered under TRUSTED_HOSTS, as on any host."""
    site = make_site(TRUSTED_HOSTS=["www.example.com"])
    site.app.add_url_rule("/home", "home", lambda: "")
    own = "{{ t.language }} our own page <a href=\"{{ url_for('home', _external=True) }}\">home</a>"
    site.app.jinja_loader = DictLoader({"mailtrack/unsubscribe.html": own})
    links = paths(site)
    make_domain(site)
    site.mailtrack._state().administration.in_use.now()
    page = site.client.get(links["u"], base_url=f"https://{HOST}")
    assert 'our own page <a href="https://www.example.com/home">' in page.text


@pytest.mark.parametrize("door", [True, False])
def test_app_files_are_served_on_tracking_domains(make_site: MakeSite, door: bool) -> None:
    """A phone asks each host for them, also one that an operator has made; the app's own hosts keep theirs."""
    site = make_site(MAILTRACK_ASSETLINKS=[{"relation": []}], MAILTRACK_FRONT_DOOR=door)
    path = "/.well-known/assetlinks.json"
    assert site.client.get(path, base_url=f"https://{HOST}").status_code == 404
    make_domain(site)
    assert site.client.get(path, base_url=f"https://{HOST}").json == [{"relation": []}]
    assert site.client.get(path, base_url="https://www.example.com").status_code == 404


def test_a_web_server_may_ask_a_process_that_never_sends(make_site: MakeSite, tmp_path: Path) -> None:
    """A domain that another process has made is known here some seconds later, though nothing else asks for it."""
    url = f"sqlite:///{tmp_path}/shared.sqlite3"
    there = make_site(SQLALCHEMY_DATABASE_URI=url)
    domains = there.mailtrack.domains
    domains.create("example.org", "first", by="ops")
    here = make_site(SQLALCHEMY_DATABASE_URI=url, MAILTRACK_APP_ID="here")
    assert here.client.get("/m/d/ask?domain=first.example.org").status_code == 200
    domains.create("example.org", "click", by="ops")
    here.mailtrack._state().administration.in_use.snapshot.forget()
    assert here.client.get(f"/m/d/ask?domain={HOST}").status_code == 200

"""The fourth check of a tracking domain: what a phone gets that wants to know which links an app opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from administration.test_domain_check import HOST, app, checker, context_of, texts
from administration.test_tracking_domains import office
from click.testing import Result
from conftest import MakeSite, Site
from dns_server import NameServer, name_server
from tls_server import Answer, web_server

from flask_mailtrack import outside
from flask_mailtrack.administration import domain_check
from flask_mailtrack.administration.domain_check import DomainStatus

APPLE, ANDROID = "/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"
CONTENT: dict[str, Any] = {APPLE: {"applinks": {"details": ["ä"]}}, ANDROID: [{"relation": ["x"]}]}
FILES = {path: json.dumps(content).encode() for path, content in CONTENT.items()}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[NameServer]:
    """A name server in which the host points to us."""
    with name_server() as server:
        server.serve({"customer.test": "click IN CNAME track.vendor.test.\n", "vendor.test": "track IN A 127.0.0.1\n"})
        yield server


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    """An authority that the checker trusts."""
    return trustme.CA()


def good(path: str) -> Answer:
    """Serve the file as this app does, but for blanks that something on the way has put in."""
    return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(CONTENT[path], indent=2)


def missing(path: str) -> Answer:
    """Pass only links to the app, as a web server does that nobody has told of the files."""
    return 404, {}, "nothing"


def moved(path: str) -> Answer:
    """Redirect to the customer's own site."""
    return 301, {"Location": f"https://www.customer.test{path}"}, ""


def as_text(path: str) -> Answer:
    """Serve a file without an ending as a web server does by itself."""
    return 200, {"Content-Type": "application/octet-stream"}, FILES[path].decode()


def another(path: str) -> Answer:
    """Serve a file of the customer's own."""
    return 200, JSON, '{"applinks": {}}'


def broken(path: str) -> Answer:
    """Serve what is no JSON."""
    return 200, JSON, "<html>"


def half(path: str) -> Answer:
    """Serve one of the two."""
    return good(path) if path == APPLE else missing(path)


WRONG = {
    missing: f"{HOST} answers 404 for {APPLE}.",
    moved: f"{HOST} redirects {APPLE} to https://www.customer.test{APPLE}, which phones do not follow.",
    as_text: f"{HOST} serves {APPLE} as application/octet-stream, not as application/json.",
    another: f"{HOST} serves another {APPLE} than this app: a cache, or a file there.",
    broken: f"{HOST} serves another {APPLE} than this app: a cache, or a file there.",
    half: f"{HOST} answers 404 for {ANDROID}.",
}


def report(server: NameServer, authority: trustme.CA, answers: Any, files: dict[str, bytes]) -> Any:
    """Check a host on which links work, and which answers so for the files."""

    def both(host: str, path: str) -> Answer:
        return answers(path) if path in FILES else app(host, path)

    with web_server(both, context_of(authority.issue_cert(HOST))) as port:
        return checker(server, authority, port, app_files=files).check(HOST)


def test_a_host_that_serves_the_files_passes(server: NameServer, authority: trustme.CA) -> None:
    """What they say is compared, not how it is written."""
    found = report(server, authority, good, FILES)
    assert (found.status, texts(found, "app")) == (DomainStatus.VERIFIED, f"ok: {HOST} says which links an app opens. ")


@pytest.mark.parametrize("answers", WRONG, ids=lambda made: made.__name__)
def test_what_is_wrong_with_a_file_is_a_warning_with_its_cure(
    server: NameServer, authority: trustme.CA, answers: Any
) -> None:
    """The domain is verified all the same: such a link leads in a browser, too."""
    found = report(server, authority, answers, FILES)
    assert found.status == DomainStatus.VERIFIED
    text = texts(found, "app")
    assert text.startswith(f"warning: {WRONG[answers]} Have the web server pass /.well-known/")
    assert text.endswith("Until then links there open in the browser.")


def test_without_an_app_nothing_is_asked(server: NameServer, authority: trustme.CA) -> None:
    """Who has no app files has three checks."""

    def never(path: str) -> Answer:
        raise AssertionError(path)

    found = report(server, authority, never, {})
    assert [each.check for each in found.findings] == ["dns", "tls", "http"]


def test_a_file_that_does_not_come_proves_nothing(
    server: NameServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is told as that, in a bounded time."""
    fetch = domain_check.fetch

    def silent(host: str, address: str, port: int, path: str, *more: Any) -> Any:
        if "well-known" in path:
            raise TimeoutError
        return fetch(host, address, port, path, *more)

    monkeypatch.setattr(domain_check, "fetch", silent)
    found = report(server, authority, good, FILES)
    assert found.status == DomainStatus.VERIFIED
    assert texts(found, "app").startswith(f"warning: {HOST} did not answer for {APPLE} (TimeoutError).")


def test_a_long_file_is_read_to_its_end(server: NameServer, authority: trustme.CA) -> None:
    """A file of an app with many paths is longer than any answer of the challenge."""
    content = [{"relation": ["x" * 100]}] * 100
    files = {ANDROID: json.dumps(content).encode()}
    assert len(files[ANDROID]) > outside.LONGEST_ANSWER
    found = report(server, authority, lambda path: (200, JSON, files[ANDROID].decode()), files)
    assert texts(found, "app").startswith("ok:")


def test_the_warning_is_the_reason_of_the_status(site: Site, server: NameServer, authority: trustme.CA) -> None:
    """Who lists domains sees it without looking into the findings."""
    with web_server(lambda host, path: app(host, path), context_of(authority.issue_cert(HOST))) as port:
        at = office(site, checker(server, authority, port, app_files=FILES))
        at.domains.create("customer.test", "click")
        checked = at.domains.check(HOST)
    assert (checked.status, checked.reason) == ("verified", f"{HOST} answers 404 for {APPLE}.")


def test_web_servers_are_told_of_the_files(make_site: MakeSite) -> None:
    """The lines to copy pass the files on where an app is configured, and only there."""

    def add(site: Site) -> Result:
        arguments = ["mailtrack", "domains", "add", "example.org", "click"]
        return site.app.test_cli_runner().invoke(args=arguments)

    made = add(make_site(MAILTRACK_ASSETLINKS=CONTENT[ANDROID])).output
    assert f"location = {ANDROID} {{" in made
    assert f"@tracking path /m/* {ANDROID}\n" in made
    assert APPLE not in made
    assert "well-known" not in add(make_site()).output
    assert make_site(MAILTRACK_ASSETLINKS=CONTENT[ANDROID]).mailtrack.domains._checker.app_files == {
        ANDROID: FILES[ANDROID]
    }

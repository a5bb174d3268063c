"""Every rule of a prefix, and every status, by the sentence in which an operator reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from administration import test_domain_check as real
from administration.test_domain_check import HOST, checker, context_of
from administration.test_tracking_domains import OK, Said, office
from conftest import MakeSite, Site
from dns_server import NameServer, name_server
from flask_mail import Message
from tls_server import web_server

from flask_mailtrack.administration.domain_check import DomainStatus
from flask_mailtrack.administration.host_names import ADVICE
from flask_mailtrack.errors import DomainError

NAME_OF_49 = ".".join(["x" * 49] * 4)

PREFIXES: dict[str, list[tuple[str, str, str]]] = {
    "3 to 63 characters": [
        ("customer.test", "", "has 0 characters. Write 3 to 63"),
        ("customer.test", "ab", "has 2 characters. Write 3 to 63"),
        ("customer.test", "abc", ""),
        ("customer.test", "x" * 63, ""),
        ("customer.test", "x" * 64, "has 64 characters. Write 3 to 63"),
    ],
    "a-z, A-Z, 0-9 and hyphen": [
        ("customer.test", "AZaz09-x", ""),
        *[("customer.test", f"ab{c}c", "may have letters a to z, digits and hyphens only") for c in "._ ü/@:*\n\0٣"],
    ],
    "no hyphen at either end": [
        ("customer.test", "-click", "must not begin or end with a hyphen"),
        ("customer.test", "click-", "must not begin or end with a hyphen"),
        ("customer.test", "---", "must not begin or end with a hyphen"),
        ("customer.test", "cl--ick", ""),
    ],
    "not only digits": [
        ("customer.test", "123", "must not be digits alone"),
        ("customer.test", "0" * 63, "must not be digits alone"),
        ("customer.test", "1-2", ""),
        ("customer.test", "12a", ""),
    ],
    "the whole name valid": [
        (NAME_OF_49, "y" * 53, ""),
        (NAME_OF_49, "y" * 54, "has 254 characters. A domain name has at most 253"),
        ("customer..test", "click", "is not a domain name"),
        ("-customer.test", "click", "is not a domain name"),
        ("customer.123", "click", "is not a domain name"),
        ("https://customer.test", "click", "is not a domain name"),
        ("customer.test.", "click", ""),
    ],
    "not an address": [
        ("127.0.0.1", "click", "is an address"),
        ("[::1]", "click", "is an address"),
    ],
    "not the apex": [
        ("customer.test", "@", "may have letters a to z, digits and hyphens only"),
        ("test", "customer", "is not a domain name"),
    ],
    "not taken": [
        ("customer.test", "made", "is taken: it is a tracking domain already"),
        ("Customer.Test", "MADE", "is taken: it is a tracking domain already"),
        ("customer.test", "named", "is taken: it is a tracking domain already"),
        ("customer.test", "target", "is where tracking domains point to"),
        ("customer.test", "free", ""),
    ],
    "a primary domain that is configured or has sent mail": [
        ("stranger.test", "click", "No mail is sent from stranger.test"),
        ("other.test", "click", ""),
        ("news.other.test", "click", ""),
        ("er.test", "click", "No mail is sent from er.test"),
    ],
}


def rows(table: dict[str, list[Any]]) -> list[Any]:
    """Return the rows of a table, each named after its sentence."""
    return [pytest.param(*row, id=sentence) for sentence, given in table.items() for row in given]


@pytest.mark.parametrize(("primary", "prefix", "refusal"), rows(PREFIXES))
def test_a_prefix_keeps_its_rules(site: Site, primary: str, prefix: str, refusal: str) -> None:
    """What breaks a rule is refused in a sentence that says which, and nothing is made; the rest is made."""
    said = Said(OK)
    said.target = "target.customer.test"
    at = office(site, said, configured=("named.customer.test",))
    at.domains._senders |= {NAME_OF_49}
    at.domains.create("customer.test", "made")
    before = {domain.host for domain in at.domains.list()}
    if refusal:
        with pytest.raises(DomainError) as caught:
            at.domains.create(primary, prefix)
        assert refusal in str(caught.value)
        assert {domain.host for domain in at.domains.list()} == before
    else:
        made = at.domains.create(primary, prefix)
        assert made.host == f"{prefix}.{primary}".lower().rstrip(".")
        assert made.status == "not_verified"


@pytest.mark.parametrize("prefix", ["click", "1click"])
def test_better_start_with_a_letter(site: Site, prefix: str) -> None:
    """That is advice: the domain is made all the same."""
    assert office(site, Said(OK)).domains.create("customer.test", prefix).advice == (
        "" if prefix == "click" else ADVICE
    )


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[NameServer]:
    """A name server."""
    with name_server() as server:
        yield server


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    """An authority that the checker trusts."""
    return trustme.CA()


RIGHT = "click IN CNAME track.vendor.test.\n"
GOOD: tuple[str, Any, Any] = (RIGHT, None, real.app)
N, P, V = DomainStatus.NOT_VERIFIED, DomainStatus.PENDING, DomainStatus.VERIFIED

STATUSES: dict[str, list[tuple[str, Any, Any, DomainStatus, str]]] = {
    "not verified: no record found": [
        ("", None, real.app, N, "has no record"),
        ("click IN TXT x\n", None, real.app, N, "has no record"),
    ],
    "pending: wrong record": [
        ("click IN CNAME elsewhere.vendor.test.\n", None, real.app, P, "not to track.vendor.test"),
        ("click IN CNAME track.vendor.test\n", None, real.app, P, "the zone's own name was added to the target"),
        ("click IN A 127.0.0.9\n", None, real.app, P, "which is not that of track.vendor.test"),
    ],
    "pending: unfinished record": [
        ("click IN CNAME next\n", None, real.app, P, "is a CNAME to next.customer.test, not to"),
        ("click IN CNAME click\n", None, real.app, P, "more than 8 CNAME records"),
    ],
    "pending: certificate": [
        (RIGHT, real.expired, real.app, P, "has expired"),
        (RIGHT, real.early, real.app, P, "is not valid yet"),
        (RIGHT, real.wrong_name, real.app, P, "is for another name"),
        (RIGHT, real.unknown, real.app, P, "of an authority that nobody knows"),
        (RIGHT, real.incomplete, real.app, P, "incomplete chain"),
    ],
    "pending: app not reached": [
        (RIGHT, None, real.foreign, P, "reaches another app"),
        (RIGHT, None, real.other_key, P, "with another key"),
        (RIGHT, None, real.to_https, P, "redirects to"),
        (RIGHT, None, real.login, P, "looks like a login page"),
        (RIGHT, None, real.forbidden, P, "asks for a login"),
    ],
    "verified": [
        (*GOOD, V, "Every check passed"),
        ("click IN CNAME next\nnext IN CNAME track.vendor.test.\n", None, real.app, V, "Every check passed"),
        ("click IN A 127.0.0.1\n", None, real.app, V, "Every check passed"),
    ],
}


@pytest.mark.parametrize(("zone", "certificate", "answers", "status", "reason"), rows(STATUSES))
def test_a_domain_has_the_status_of_what_is_there(
    site: Site,
    server: NameServer,
    authority: trustme.CA,
    zone: str,
    certificate: Callable[[trustme.CA], Any] | None,
    answers: Any,
    status: DomainStatus,
    reason: str,
) -> None:
    """A real name server, real TLS and a real web server: status, reason and cure are those of what they answer.

    The table knows how each sentence was made, so that pages can say it in their reader's language.
    """
    server.serve({"customer.test": zone, "vendor.test": "track IN A 127.0.0.1\nelsewhere IN A 127.0.0.9\n"})
    context = certificate(authority) if certificate else context_of(authority.issue_cert(HOST))
    with web_server(answers, context) as port:
        at = office(site, checker(server, authority, port))
        at.domains.create("customer.test", "click")
        found = at.domains.check(HOST)
    assert (found.status, reason in found.reason) == (status, True), found
    assert at.in_force() == (HOST if status == V else "")
    assert all(finding.cure for finding in found.findings if finding.level != "ok")
    told = [found.reason, *(text for each in found.findings for text in (each.text, each.cure) if text)]
    assert [text for text in told if text.template == "%(text)s"] == []


def switch(site: Site, key: str, value: bool, **scope: str) -> None:
    """Turn a switch."""
    site.mailtrack.settings.set(key, value, by="ops@example.com", **scope)


Turn = Callable[[Site], None]

SWITCHED: dict[str, list[tuple[Turn, str]]] = {
    "Enabled": [
        (lambda site: None, "Enabled: by the configuration (MAILTRACK_OPENS)"),
        (lambda site: switch(site, "opens", True), "Enabled: on for the account since 20"),
        (lambda site: switch(site, "opens", True, domain="example.org"), "Enabled: on for example.org since 20"),
        (lambda site: switch(site, "opens", True, sender="a@example.org"), "Enabled: on for the sender since 20"),
    ],
    "Not enabled": [
        (lambda site: switch(site, "opens", False), "Not enabled: off for the account since 20"),
        (lambda site: switch(site, "opens", False, domain="example.org"), "Not enabled: off for example.org since 20"),
        (lambda site: switch(site, "opens", False, sender="a@example.org"), "Not enabled: off for the sender since 20"),
        (lambda site: switch(site, "pause", True), "Not enabled: paused for the account since 20"),
        (
            lambda site: site.mailtrack.settings.choose_dimension("domain"),
            "Not enabled: nothing is set, and the dimension 'domain' tracks only what has a setting of its own",
        ),
    ],
}


@pytest.mark.parametrize(("turn", "text"), rows(SWITCHED))
def test_a_switch_has_the_status_of_what_decides(site: Site, turn: Turn, text: str) -> None:
    """The same sentence stands in the settings of the sender and in the preview of a mail."""
    turn(site)
    (opens, *_) = site.mailtrack.settings.status(sender="a@example.org")
    assert opens.text.startswith(text)
    assert " since " not in opens.text or opens.text.endswith(" by ops@example.com")
    assert site.mailtrack.preview("<p>x</p>", sender="a@example.org").switches[0].text == opens.text


def test_clicks_on_and_opens_off_by_the_message(site: Site) -> None:
    """Each switch of one mail has the one who has decided."""
    switch(site, "clicks", True)
    message = Message("Hi", recipients=["b@example.com"], sender="a@example.org", html="<p>x</p>")
    opens, clicks, _ = site.mailtrack.preview(site.mailtrack.track(message, opens=False)).switches
    assert opens.text == "Not enabled: off by the message"
    assert clicks.text.startswith("Enabled: on for the account since 20")


def test_off_by_the_configuration(make_site: MakeSite) -> None:
    """The key is named, and where a sender domain has its own, that one."""
    site = make_site(MAILTRACK_OPENS=False, MAILTRACK_SENDER_DOMAINS={"b.example": {"opens": False}})
    assert site.mailtrack.settings.status()[0].text == "Not enabled: by the configuration (MAILTRACK_OPENS)"
    assert site.mailtrack.settings.status(domain="b.example")[0].text == (
        "Not enabled: by the configuration (MAILTRACK_SENDER_DOMAINS['b.example'])"
    )

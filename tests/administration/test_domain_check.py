"""A tracking domain from its record to this app, with a real name server and real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from dns_server import NameServer, name_server
from tls_server import Answer, web_server

from flask_mailtrack import outside
from flask_mailtrack.administration import domain_check
from flask_mailtrack.administration.dns_records import Names
from flask_mailtrack.administration.domain_check import DomainChecker, DomainReport, DomainStatus
from flask_mailtrack.administration.sender_records import mail_records
from flask_mailtrack.tokens import Signer

HOST = "click.customer.test"
SIGNER = Signer(["a secret that is long enough for anybody"])
OTHER = Signer(["another secret that is long enough for you"])


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[NameServer]:
    """A name server in which the host points to us, and others do not."""
    records = "click IN CNAME track.vendor.test.\nwrong IN CNAME x.vendor.test.\ninside IN A 127.0.0.1\n"
    with name_server() as server:
        server.serve(
            {"customer.test": records, "vendor.test": "track IN A 127.0.0.1\nx IN A 127.0.0.9\nbare IN TXT x\n"}
        )
        yield server


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    """An authority that the checker trusts."""
    return trustme.CA()


def app(host: str, path: str) -> Answer:
    """Answer as this app does."""
    said = SIGNER.host_proof(host.partition(":")[0], path.rpartition("/")[2])
    return (200, {"Cache-Control": "no-store"}, said) if said else (404, {}, "no")


def context_of(certificate: trustme.LeafCert, chain: bool = True) -> ssl.SSLContext:
    """Return the server's side of a certificate, with or without its chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pems = certificate.cert_chain_pems if chain else certificate.cert_chain_pems[:1]
    whole = trustme.Blob(b"".join(pem.bytes() for pem in pems))
    with whole.tempfile() as path, certificate.private_key_pem.tempfile() as key:
        context.load_cert_chain(path, key)
    return context


def checker(server: NameServer, authority: trustme.CA, port: int, **fields: Any) -> DomainChecker:
    """Return a checker that trusts *authority*, and asks on *port*."""
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    usual: dict[str, Any] = {
        "signer": SIGNER,
        "target": "track.vendor.test",
        "prefix": "/m",
        "servers": [server.address],
        "allow_private": True,
        "port": port,
        "context": trusted,
    }
    return DomainChecker(**{**usual, **fields})


def texts(report: DomainReport, check: str) -> str:
    """Return what a report says of one check."""
    return " ".join(f"{each.level}: {each.text} {each.cure}" for each in report.findings if each.check == check)


def test_a_host_that_is_right_is_verified(server: NameServer, authority: trustme.CA) -> None:
    """Record, certificate and proof are found, and the end of the certificate is told."""
    with web_server(app, context_of(authority.issue_cert(HOST))) as port:
        report = checker(server, authority, port).check(HOST)
    assert (report.status, report.definite) == (DomainStatus.VERIFIED, True), report
    assert [(each.check, each.level) for each in report.findings] == [("dns", "ok"), ("tls", "ok"), ("http", "ok")]
    assert report.certificate_ends
    assert report.certificate_ends > datetime.now(UTC)


def test_an_address_that_this_machine_has_no_way_to_is_not_asked(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with IPv6 is verified, and stays so, by a machine that has IPv4 alone."""
    monkeypatch.setattr(outside, "has_route", lambda address: ":" not in address)
    vendor = "track IN A 127.0.0.1\ntrack IN AAAA 2001:db8::1\n"
    with name_server() as server, web_server(app, context_of(authority.issue_cert(HOST))) as port:
        server.serve({"customer.test": "click IN CNAME track.vendor.test.\n", "vendor.test": vendor})
        report = checker(server, authority, port).check(HOST)
    assert report.status == DomainStatus.VERIFIED


def test_a_host_without_a_record_is_not_verified(server: NameServer, authority: trustme.CA) -> None:
    """Nothing but the missing record is told, with the record to set."""
    report = checker(server, authority, 1).check("nothing.customer.test")
    assert (report.status, report.definite) == (DomainStatus.NOT_VERIFIED, True)
    assert "nothing.customer.test. CNAME track.vendor.test." in texts(report, "dns")


def test_a_wrong_record_is_pending(server: NameServer, authority: trustme.CA) -> None:
    """A record that leads elsewhere is found, and not ready; nobody is asked there."""
    report = checker(server, authority, 1).check("wrong.customer.test")
    assert (report.status, report.definite, len(report.findings)) == (DomainStatus.PENDING, True, 1)


def test_a_failing_name_server_is_not_definite(server: NameServer, authority: trustme.CA) -> None:
    """REFUSED proves nothing about the host."""
    report = checker(server, authority, 1).check("click.foreign.example")
    assert (report.status, report.definite) == (DomainStatus.PENDING, False)


def test_a_target_without_an_address_is_named(server: NameServer, authority: trustme.CA) -> None:
    """A record may be right while the target itself leads nowhere."""
    report = checker(server, authority, 1, target="gone.vendor.test").check("click.customer.test")
    assert report.status == DomainStatus.PENDING


@pytest.mark.parametrize("days", [3, 15])
def test_a_certificate_that_ends_soon_is_warned_of(server: NameServer, authority: trustme.CA, days: int) -> None:
    """Three weeks before the end the finding warns, and in the last week it is urgent; the host is verified still."""
    ends = datetime.now(UTC) + timedelta(days=days)
    with web_server(app, context_of(authority.issue_cert(HOST, not_after=ends))) as port:
        report = checker(server, authority, port).check(HOST)
    assert report.status == DomainStatus.VERIFIED
    assert ("warning: " in texts(report, "tls"), "at once" in texts(report, "tls")) == (True, days < 7)


NOW = datetime.now(UTC)


def expired(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate of the year 2020."""
    return context_of(authority.issue_cert(HOST, not_before=datetime(2020, 1, 1), not_after=datetime(2020, 6, 1)))


def early(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate of tomorrow."""
    return context_of(authority.issue_cert(HOST, not_before=datetime(2090, 1, 1), not_after=datetime(2091, 1, 1)))


def wrong_name(authority: trustme.CA) -> ssl.SSLContext:
    """A good certificate of another host."""
    return context_of(authority.issue_cert("other.customer.test"))


def unknown(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate of an authority that nobody trusts."""
    return context_of(trustme.CA().issue_cert(HOST))


def incomplete(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate whose intermediate is not sent."""
    return context_of(authority.create_child_ca().issue_cert(HOST), chain=False)


TLS = {expired: "has expired (2020-06-01)", early: "not valid yet", wrong_name: "another name"}
TLS |= {unknown: "authority that nobody knows", incomplete: "incomplete chain"}


@pytest.mark.parametrize("made", TLS, ids=lambda made: made.__name__)
def test_a_bad_certificate_is_pending(server: NameServer, authority: trustme.CA, made: Any) -> None:
    """Each fault of a certificate is named with its cure, and the end of the certificate is known all the same."""
    with web_server(app, made(authority)) as port:
        report = checker(server, authority, port).check(HOST)
    assert (report.status, report.definite) == (DomainStatus.PENDING, True)
    assert TLS[made] in texts(report, "tls")
    assert report.certificate_ends
    assert not texts(report, "http")


def test_a_host_without_tls_is_pending(server: NameServer, authority: trustme.CA) -> None:
    """Plain HTTP on the port is named as that."""
    with web_server(app) as port:
        report = checker(server, authority, port).check(HOST)
    assert (report.status, report.definite) == (DomainStatus.PENDING, True)
    assert "does not speak TLS" in texts(report, "tls")


def test_a_closed_port_is_definite_and_a_silent_one_is_not(
    server: NameServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who listens is a fact; nobody who answers may be the way there."""
    monkeypatch.setattr(outside.connected, "__defaults__", (0.2,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        waiting = checker(server, authority, port).check(HOST)
    closed = checker(server, authority, port).check(HOST)
    assert (waiting.status, waiting.definite) == (DomainStatus.PENDING, False)
    assert (closed.status, closed.definite) == (DomainStatus.PENDING, True)
    assert "Nobody listens" in texts(closed, "tls")


def login(host: str, path: str) -> Answer:
    """Answer as a login wall does."""
    return 302, {"Location": "https://login.customer.test/sign-in?next=/"}, ""


def to_https(host: str, path: str) -> Answer:
    """Redirect somewhere else."""
    return 301, {"Location": "https://www.customer.test/"}, ""


def foreign(host: str, path: str) -> Answer:
    """Answer as another web site does, behind a cache."""
    return 200, {"Age": "12", "Content-Type": "text/html"}, "<h1>Welcome</h1>"


def forbidden(host: str, path: str) -> Answer:
    """Answer as a site with a password does."""
    return 401, {"WWW-Authenticate": "Basic"}, "no"


def other_key(host: str, path: str) -> Answer:
    """Answer as this app with another key does."""
    return 200, {}, OTHER.host_proof(host.partition(":")[0], path.rpartition("/")[2]) or ""


def rewritten(host: str, path: str) -> Answer:
    """Answer as this app behind a proxy that hides the host name."""
    return 200, {}, SIGNER.host_proof("127.0.0.1", path.rpartition("/")[2]) or ""


WALLS = {
    login: "It looks like a login page",
    to_https: "redirects to https://www.customer.test/",
    foreign: "reaches another app (status 200). A cache answered",
    forbidden: "asks for a login",
    other_key: "with another key or host name",
    rewritten: "with another key or host name",
}


@pytest.mark.parametrize("answers", WALLS, ids=lambda made: made.__name__)
def test_a_host_that_reaches_something_else_is_pending(server: NameServer, authority: trustme.CA, answers: Any) -> None:
    """Another app, key or wall is told apart, and no redirect is followed."""
    with web_server(answers, context_of(authority.issue_cert(HOST))) as port:
        report = checker(server, authority, port).check(HOST)
    assert (report.status, report.definite) == (DomainStatus.PENDING, True)
    assert WALLS[answers] in texts(report, "http")
    assert report.findings[-1].cure


def test_private_addresses_are_not_asked(server: NameServer, authority: trustme.CA) -> None:
    """Nobody probes the inside of a network by naming a host that leads there."""
    asked: list[str] = []

    def answers(host: str, path: str) -> Answer:
        asked.append(path)
        return app(host, path)

    with web_server(answers, context_of(authority.issue_cert(HOST))) as port:
        report = checker(server, authority, port, allow_private=False).check(HOST)
    assert (report.status, asked) == (DomainStatus.PENDING, [])
    assert "127.0.0.1, which is not public" in texts(report, "http")


def test_a_server_that_does_not_end_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that never comes to its end is given up, and proves nothing."""
    monkeypatch.setitem(outside.fetch.__kwdefaults__, "seconds", 0.3)

    def begin(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\na")
            while connection.recv(4096):  # until the other side has had enough
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=begin, args=[listener])
        thread.start()
        port = listener.getsockname()[1]
        reached = domain_check.ask(SIGNER, HOST, "127.0.0.1", "/m", port=port, context=None)
        thread.join(5)
    assert (reached.good, reached.definite) == (False, False)


@pytest.mark.parametrize("nonce", ["", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n", "٣" * 32])
def test_only_a_question_of_ours_is_answered(nonce: str) -> None:
    """What is no nonce gets no answer, so nobody has free text signed."""
    assert SIGNER.host_proof(HOST, nonce) is None


def test_the_proof_binds_key_and_host() -> None:
    """Another key, host or question has another answer; the case of the host does not matter."""
    nonce = "0" * 32
    answers = {SIGNER.host_proof(HOST, nonce), OTHER.host_proof(HOST, nonce)}
    answers |= {SIGNER.host_proof("b.test", nonce), SIGNER.host_proof(HOST, "1" * 32)}
    assert len(answers) == 4
    assert SIGNER.host_proof(HOST.upper(), nonce) in answers


GOOD = '@ IN TXT "v=spf1 -all"\nkey._domainkey IN TXT "v=DKIM1; p=x"\n_dmarc IN TXT "v=DMARC1; p=none"\n'
TWICE = '@ IN TXT "v=spf1 -all"\n@ IN TXT "v=spf1 ~all"\n'


def test_each_record_has_its_finding_and_cure() -> None:
    """Good, missing, doubled and unknown records are told apart, each with what to do."""
    with name_server() as server:
        server.serve({"good.test": GOOD, "bare.test": '@ IN TXT "hello"\n', "twice.test": TWICE, "broken.test": None})
        names = Names([server.address])
        found = {name: mail_records(names, f"{name}.test") for name in ("good", "bare", "twice", "broken")}
    levels = {name: [finding.level for finding in findings] for name, findings in found.items()}
    assert levels == {
        "good": ["ok", "ok", "ok"],
        "bare": ["warning", "warning", "warning"],
        "twice": ["error", "warning", "warning"],
        "broken": ["unknown", "unknown", "unknown"],
    }
    assert all(finding.cure for name in ("bare", "twice", "broken") for finding in found[name])

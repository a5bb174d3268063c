"""The check of one tracking domain: name, certificate, a challenge that only this app answers, and the app files."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hmac import compare_digest
from http.client import HTTPException
from secrets import token_hex

from flask_mailtrack.events import DOMAIN_PATH
from flask_mailtrack.outside import fetch, is_public, reachable
from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.storage.tables.domains import urgency
from flask_mailtrack.tokens import Signer

from . import certificates
from .certificates import Certificate
from .dns_records import Names, Records, RecordState


@dataclass(frozen=True, slots=True)
class Reached:
    """The answer of a host.

    :param good: the host reaches this app.
    :param definite: another app answered; a time-out is not definite.
    """

    good: bool
    definite: bool
    text: Phrase
    cure: Phrase = NOTHING


def ask(signer: Signer, host: str, address: str, prefix: str, *, port: int, context: ssl.SSLContext | None) -> Reached:
    """Ask *host* at *address* for the proof.

    Redirects are not followed, and only a few lines are read.

    :param prefix: the path under which the public routes live.
    :param context: of TLS; ``None``: plain HTTP.
    """
    nonce = token_hex(16)
    path = f"{prefix}/{DOMAIN_PATH}/{nonce}"
    try:
        status, headers, body = fetch(host, address, port, path, context)
    except ssl.SSLError as error:
        text = Phrase("%(host)s could not be asked over TLS (%(error)s).", host=host, error=str(error.reason))
        return Reached(False, True, text, Phrase("Mend the certificate first."))
    except (OSError, HTTPException, ValueError) as error:
        name = type(error).__name__
        text = Phrase("%(host)s did not answer the question of this app (%(error)s).", host=host, error=name)
        return Reached(False, False, text, Phrase("Look at the web server and the firewall, and check again."))
    wanted = signer.host_proof(host, nonce) or ""
    if status == 200 and compare_digest(body.strip().encode(), wanted.encode()):
        return Reached(True, True, Phrase("%(host)s reaches this app.", host=host))
    return _otherwise(host, status, headers, body)


def _otherwise(host: str, status: int, headers: dict[str, str], body: str) -> Reached:
    """Return a finding about the wrong answer of a host."""
    serve = Phrase(
        "Have the web server pass requests for %(host)s to this app, with the header Host as it came.", host=host
    )
    if status in (301, 302, 303, 307, 308):
        return Reached(False, True, _redirected(host, headers.get("location", "")), serve)
    if status in (401, 403):
        text = Phrase("%(host)s asks for a login (status %(status)s).", host=host, status=str(status))
        return Reached(False, True, text, Phrase("Let our paths pass without a login."))
    if status == 200 and re.fullmatch(r"[a-z2-7]{52}\s*", body):
        cure = Phrase(
            "Give both the same MAILTRACK_SECRET_KEYS and MAILTRACK_APP_ID, and turn caches off for our paths."
        )
        text = Phrase(
            "%(host)s reaches an app of this kind with another key or host name, or a cache answered.", host=host
        )
        return Reached(False, True, text, cure)
    text = Phrase("%(host)s reaches another app (status %(status)s).", host=host, status=str(status))
    if {"age", "x-cache", "cf-cache-status"} & headers.keys():
        text = Phrase("%(what)s A cache answered.", what=text)
    return Reached(False, True, text, serve)


def _redirected(host: str, where: str) -> Phrase:
    text = Phrase("%(host)s redirects to %(where)s.", host=host, where=where[:200])
    if re.search(r"log-?in|sign-?in|auth|sso", where, re.IGNORECASE):
        return Phrase("%(what)s It looks like a login page.", what=text)
    return text


MOST_ADDRESSES = 4
"""The number of addresses of one host that are asked. Each may take until its time-outs."""


class DomainStatus(StrEnum):
    """The status of a tracking domain."""

    NOT_VERIFIED = "not_verified"
    """No record was found."""
    PENDING = "pending"
    """A record was found, but the record, the certificate or the app behind the host is wrong."""
    VERIFIED = "verified"
    """The host may carry links."""


@dataclass(frozen=True, slots=True)
class DomainFinding:
    """The finding of one check.

    :param check: ``dns``, ``tls``, ``http`` or ``app``.
    :param level: ``ok``, ``warning``, ``error``, or ``unknown`` if nobody answered.
    :param text: the finding, as a sentence.
    :param cure: the cure; empty if there is nothing to do.
    """

    check: str
    level: str
    text: Phrase
    cure: Phrase = NOTHING


@dataclass(frozen=True, slots=True)
class DomainReport:
    """The result of the checks of one host.

    :param status: the status of the host.
    :param definite: the status is certain. A time-out, or a name server that fails, proves nothing.
    :param certificate_ends: the earliest end of the certificates seen.
    """

    status: DomainStatus
    definite: bool
    findings: tuple[DomainFinding, ...]
    certificate_ends: datetime | None = None


@dataclass(frozen=True)
class DomainChecker:
    """Checks hosts that an operator has named. No page and no configuration key sets the last two parameters.

    :param signer: the signer of the app.
    :param target: the name that tracking domains point to.
    :param prefix: the path under which the public routes live.
    :param servers: see :class:`~.dns_records.Names`.
    :param allow_private: check hosts with private addresses, too.
    :param secure: whether links are https; else no certificate is checked.
    :param app_files: the files for phones, by path, if links open an app; most often empty.
    :param port: the port of the host; default: 443, or 80 for plain HTTP.
    :param context: the TLS context, with the authorities to trust.
    """

    signer: Signer
    target: str
    prefix: str
    servers: Sequence[str] = ()
    allow_private: bool = False
    secure: bool = True
    app_files: Mapping[str, bytes] = field(default_factory=dict)
    port: int | None = None
    context: ssl.SSLContext | None = None

    def check(self, host: str) -> DomainReport:
        """Return the findings about *host*, one check after the other. A check that cannot succeed is left out."""
        records = Names(self.servers, allow_private=self.allow_private).look_up(host, self.target)
        named = DomainFinding("dns", _level(records.found), records.text, records.cure)
        if records.found != RecordState.RIGHT:
            missing = records.found == RecordState.MISSING
            status = DomainStatus.NOT_VERIFIED if missing else DomainStatus.PENDING
            return DomainReport(status, records.found != RecordState.UNSURE, (named,))
        if (refusal := self._refusal(host, records)) is not None:
            return DomainReport(DomainStatus.PENDING, True, (named, refusal))
        # A machine without IPv6 cannot judge an IPv6 address. Only if no address can be reached, that is the finding.
        addresses = reachable(records.addresses, MOST_ADDRESSES)
        shown = self._certificates(host, addresses)
        ends = min((each.ends for each in shown if each.ends), default=None)
        secured = [_secured(host, each) for each in _worst(shown)]
        if any(not each.good for each in shown):
            definite = all(each.definite for each in shown if not each.good)
            return DomainReport(DomainStatus.PENDING, definite, (named, *secured), ends)
        reached = [self._ask(host, address) for address in addresses]
        bad = [each for each in reached if not each.good]
        worst = (bad or reached)[0]
        level = "ok" if worst.good else "error" if worst.definite else "unknown"
        answered = DomainFinding("http", level, worst.text, worst.cure)
        if bad:
            definite = all(each.definite for each in bad)
            return DomainReport(DomainStatus.PENDING, definite, (named, *secured, answered), ends)
        opened = [self._app_links(host, address) for address in addresses] if self.app_files else []
        return DomainReport(DomainStatus.VERIFIED, True, (named, *secured, answered, *_opened(opened)), ends)

    def _refusal(self, host: str, records: Records) -> DomainFinding | None:
        if not records.addresses:
            text = Phrase("%(host)s has no address in the end: %(target)s has none.", host=host, target=self.target)
            return DomainFinding("dns", "error", text, Phrase("Give %(target)s an address.", target=self.target))
        inside = [each for each in records.addresses if not self.allow_private and not is_public(each)]
        if inside:
            text = Phrase(
                "%(host)s leads to %(addresses)s, which is not public: it was not asked.", host=host, addresses=inside
            )
            cure = Phrase("Use a public address, or set MAILTRACK_ALLOW_PRIVATE_HOSTS.")
            return DomainFinding("http", "error", text, cure)
        return None

    def _certificates(self, host: str, addresses: Sequence[str]) -> list[Certificate]:
        if not self.secure:
            return []
        return [certificates.look_at(host, address, self._port, self.context) for address in addresses]

    def _app_links(self, host: str, address: str) -> Reached:
        return look_at(self.app_files, host, address, port=self._port, context=self._trusted)

    @property
    def _port(self) -> int:
        return self.port or (443 if self.secure else 80)

    @property
    def _trusted(self) -> ssl.SSLContext | None:
        return (self.context or ssl.create_default_context()) if self.secure else None

    def _ask(self, host: str, address: str) -> Reached:
        return ask(self.signer, host, address, self.prefix, port=self._port, context=self._trusted)


def _level(found: RecordState) -> str:
    return {RecordState.RIGHT: "ok", RecordState.UNSURE: "unknown"}.get(found, "error")


def _worst(shown: Sequence[Certificate]) -> list[Certificate]:
    """Return the certificates to report: the bad ones, else one."""
    return [each for each in shown if not each.good] or list(shown[:1])


def _opened(looked: Sequence[Reached]) -> list[DomainFinding]:
    """Return the finding about app links. It is a warning at most, because such a link works in a browser, too."""
    worst = next((each for each in looked if not each.good), looked[0] if looked else None)
    return [DomainFinding("app", "ok" if worst.good else "warning", worst.text, worst.cure)] if worst else []


def _secured(host: str, shown: Certificate) -> DomainFinding:
    if not shown.good:
        return DomainFinding("tls", "error" if shown.definite else "unknown", shown.text, shown.cure)
    moment = datetime.now(UTC)
    if shown.ends and (urgent := urgency(shown.ends, moment)):
        text = Phrase.counted(
            max(0, (shown.ends - moment).days),
            "The certificate of %(host)s is good until %(day)s, which is in %(number)s day.",
            "The certificate of %(host)s is good until %(day)s, which is in %(number)s days.",
            host=host,
            day=shown.ends.date(),
        )
        cure = Phrase("Renew the certificate at once.") if urgent > 1 else Phrase("Renew the certificate soon.")
        return DomainFinding("tls", "warning", text, cure)
    return DomainFinding("tls", "ok", shown.text)


LONGEST_FILE = 131_072
"""Octets that Apple reads of such a file. A longer file is ignored."""


def look_at(
    files: Mapping[str, bytes], host: str, address: str, *, port: int, context: ssl.SSLContext | None
) -> Reached:
    """Return a finding about the files on *host* at *address*. Only the first wrong file is reported.

    :param files: the right files, by path; at least one.
    :param context: of TLS; ``None``: plain HTTP.
    """
    for path, wanted in files.items():
        found = _one(path, wanted, host, address, port, context)
        if not found.good:
            return found
    return Reached(True, True, Phrase("%(host)s says which links an app opens.", host=host))


def _one(path: str, wanted: bytes, host: str, address: str, port: int, context: ssl.SSLContext | None) -> Reached:
    about = {"host": host, "path": path}
    try:
        status, headers, body = fetch(host, address, port, path, context, LONGEST_FILE)
    except (OSError, HTTPException, ValueError) as error:
        text = Phrase("%(host)s did not answer for %(path)s (%(error)s).", **about, error=type(error).__name__)
        cure = Phrase(
            "Look at the web server and the firewall, and check again. Until then links there open in the browser."
        )
        return Reached(False, False, text, cure)
    if wrong := _misserved(about, status, headers, body, wanted):
        serve = Phrase(
            "Have the web server pass %(path)s on %(host)s to this app. Until then links there open in the browser.",
            **about,
        )
        return Reached(False, True, wrong, serve)
    return Reached(True, True, Phrase("%(host)s serves %(path)s.", **about))


def _misserved(about: dict[str, str], status: int, headers: dict[str, str], body: str, wanted: bytes) -> Phrase:
    """Return what is wrong with the file that was served; empty: nothing is."""
    if 300 <= status < 400:
        where = headers.get("location", "")[:200]
        return Phrase("%(host)s redirects %(path)s to %(where)s, which phones do not follow.", **about, where=where)
    if status != 200:
        return Phrase("%(host)s answers %(status)s for %(path)s.", **about, status=str(status))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        served = kind[:80] or Phrase("nothing")
        return Phrase("%(host)s serves %(path)s as %(kind)s, not as application/json.", **about, kind=served)
    if not _same(body, wanted):
        return Phrase("%(host)s serves another %(path)s than this app: a cache, or a file there.", **about)
    return NOTHING


def _same(body: str, wanted: bytes) -> bool:
    """Compare the content of two files, because a proxy on the way may have written them in another way."""
    try:
        said = json.loads(body.encode("latin-1"))
    except (ValueError, RecursionError):
        return False
    return bool(said == json.loads(wanted))

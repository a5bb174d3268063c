"""The DNS records of a sender domain that let its mail arrive: SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489).

They are reported only: nothing depends on them.
"""

from __future__ import annotations

from flask_mailtrack.phrases import Phrase

from .dns_records import Names
from .domain_check import DomainFinding

_SPF = "v=spf1 include:YOUR-RELAY ~all"
_DMARC = "v=DMARC1; p=none; rua=mailto:…"


def mail_records(names: Names, domain: str) -> list[DomainFinding]:
    """Return a finding for SPF, DKIM and DMARC of a sender domain."""
    return [_spf(names, domain), _dkim(names, domain), _dmarc(names, domain)]


def _spf(names: Names, domain: str) -> DomainFinding:
    texts = names.texts(domain)
    if texts is None:
        return _unknown("spf", domain)
    found = [text for text in texts if text.lower().startswith(("v=spf1 ", "v=spf1\t")) or text.lower() == "v=spf1"]
    if len(found) == 1:
        return DomainFinding("spf", "ok", Phrase("%(domain)s has an SPF record.", domain=domain))
    if found:  # several records are a permanent error for every receiver: RFC 7208, section 4.5
        text = Phrase("%(domain)s has more than one SPF record.", domain=domain)
        return DomainFinding("spf", "error", text, Phrase("Join them into one."))
    return DomainFinding(
        "spf",
        "warning",
        Phrase("%(domain)s has no SPF record.", domain=domain),
        Phrase("Set a TXT record at %(name)s, such as: %(record)s", name=domain, record=_SPF),
    )


def _dkim(names: Names, domain: str) -> DomainFinding:
    # Only the mails name the selector. But if any selector exists, the name above it exists, too (RFC 8020).
    there = names.exists(f"_domainkey.{domain}")
    if there is None:
        return _unknown("dkim", domain)
    if there:
        return DomainFinding("dkim", "ok", Phrase("%(domain)s has a DKIM key.", domain=domain))
    cure = Phrase("Have your relay make a key, and set the TXT or CNAME record that the relay names.")
    return DomainFinding("dkim", "warning", Phrase("%(domain)s has no DKIM key.", domain=domain), cure)


def _dmarc(names: Names, domain: str) -> DomainFinding:
    texts = names.texts(f"_dmarc.{domain}")
    if texts is None:
        return _unknown("dmarc", domain)
    if any(text.lower().replace(" ", "").startswith("v=dmarc1") for text in texts):
        return DomainFinding("dmarc", "ok", Phrase("%(domain)s has a DMARC record.", domain=domain))
    return DomainFinding(
        "dmarc",
        "warning",
        Phrase("%(domain)s has no DMARC record.", domain=domain),
        Phrase("Set a TXT record at %(name)s, such as: %(record)s", name=f"_dmarc.{domain}", record=_DMARC),
    )


def _unknown(check: str, domain: str) -> DomainFinding:
    text = Phrase("The records of %(domain)s could not be looked up.", domain=domain)
    return DomainFinding(check, "unknown", text, Phrase("Check again later."))

"""The records by which a sender domain proves its mail: SPF, DKIM and DMARC. Reported; nothing depends on them."""

from __future__ import annotations

from .dns_records import Names
from .domain_check import DomainFinding


def mail_records(names: Names, domain: str) -> list[DomainFinding]:
    """Return a finding for SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489) of a sender domain."""
    return [_spf(names, domain), _dkim(names, domain), _dmarc(names, domain)]


def _spf(names: Names, domain: str) -> DomainFinding:
    texts = names.texts(domain)
    if texts is None:
        return _unknown("spf", domain)
    found = [text for text in texts if text.lower().startswith(("v=spf1 ", "v=spf1\t")) or text.lower() == "v=spf1"]
    if len(found) == 1:
        return DomainFinding("spf", "ok", f"{domain} has an SPF record.")
    if found:  # RFC 7208, section 4.5: that is a permanent error for every receiver
        return DomainFinding("spf", "error", f"{domain} has {len(found)} SPF records.", "Join them into one.")
    cure = f'Set a TXT record at {domain}, such as "v=spf1 include:YOUR-RELAY ~all".'
    return DomainFinding("spf", "warning", f"{domain} has no SPF record.", cure)


def _dkim(names: Names, domain: str) -> DomainFinding:
    # A selector's name is in the mails alone. But where any selector exists, the name above it exists (RFC 8020).
    there = names.exists(f"_domainkey.{domain}")
    if there is None:
        return _unknown("dkim", domain)
    if there:
        return DomainFinding("dkim", "ok", f"{domain} has a DKIM key.")
    cure = "Have your relay make a key, and set the TXT or CNAME record that the relay names."
    return DomainFinding("dkim", "warning", f"{domain} has no DKIM key.", cure)


def _dmarc(names: Names, domain: str) -> DomainFinding:
    texts = names.texts(f"_dmarc.{domain}")
    if texts is None:
        return _unknown("dmarc", domain)
    if any(text.lower().replace(" ", "").startswith("v=dmarc1") for text in texts):
        return DomainFinding("dmarc", "ok", f"{domain} has a DMARC record.")
    cure = f'Set a TXT record at _dmarc.{domain}, such as "v=DMARC1; p=none; rua=mailto:…".'
    return DomainFinding("dmarc", "warning", f"{domain} has no DMARC record.", cure)


def _unknown(check: str, domain: str) -> DomainFinding:
    return DomainFinding(check, "unknown", f"The records of {domain} could not be looked up.", "Check again later.")

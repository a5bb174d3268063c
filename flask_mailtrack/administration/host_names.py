"""The names of tracking domains: the allowed names, their record, and the lines for a web server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from flask_mailtrack.errors import DomainError
from flask_mailtrack.phrases import Phrase

SHORTEST, LONGEST = 3, 63
"""Characters of a prefix. The upper bound is that of a DNS label (RFC 1035, section 2.3.4)."""
LONGEST_NAME = 253
"""Characters of a whole name without the last dot (RFC 1035, section 2.3.4: 255 octets on the wire)."""
RECORD_SECONDS = 300
"""Seconds for which others may cache the record. The time is short, so that a mistake is soon corrected."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PREFIX_CHARACTERS = re.compile(r"[A-Za-z0-9-]*", re.ASCII)
ADVICE = Phrase("A prefix is easier to read when the first character is a letter.")


@dataclass(frozen=True, slots=True)
class Cname:
    """The CNAME record that the owner of a domain sets.

    :param host: the tracking domain, such as ``click.example.com``.
    :param target: the target, such as ``links.example.net``.
    """

    host: str
    target: str

    @property
    def zone_line(self) -> str:
        """The record as a line of a zone file, with the dots that end absolute names (RFC 1035, section 5.1)."""
        return f"{self.host}. {RECORD_SECONDS} IN CNAME {self.target}."


def host_name(written: str) -> str:
    """Return a whole host name in the spelling for comparisons: A-labels, lower case, no last dot.

    :raises DomainError: it is not a name of at least two labels, or it is an address.
    """
    name, shown = written.strip().rstrip(".").lower(), repr(written[:80])
    try:
        name = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        raise DomainError(Phrase("%(name)s is not a domain name.", name=shown)) from None
    if _is_address(name):
        raise DomainError(Phrase("%(name)s is an address. Write a domain name such as 'example.com'.", name=shown))
    labels = name.split(".")
    if len(labels) < 2 or len(name) > LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise DomainError(Phrase("%(name)s is not a domain name. Write one such as 'example.com'.", name=shown))
    return name


def is_host_name(written: str) -> bool:
    """Say whether a text is a whole host name, and not an address or a single label such as ``localhost``."""
    try:
        host_name(written)
    except DomainError:
        return False
    return True


def tracking_host(primary: str, prefix: str) -> str:
    """Return the tracking domain that *prefix* makes below a primary domain.

    :param primary: a sender domain.
    :param prefix: 3 to 63 letters, digits and hyphens; no hyphen at either end, and not digits alone.
    :raises DomainError: the prefix, or the whole name, breaks a rule, which the text names.
    """
    shown = repr(prefix[:80])
    if not _PREFIX_CHARACTERS.fullmatch(prefix):
        text = Phrase("The prefix %(prefix)s may have letters a to z, digits and hyphens only.", prefix=shown)
        raise DomainError(text)
    if not SHORTEST <= len(prefix) <= LONGEST:
        text = Phrase.counted(
            len(prefix),
            "The prefix %(prefix)s has %(number)s character. Write %(least)s to %(most)s.",
            "The prefix %(prefix)s has %(number)s characters. Write %(least)s to %(most)s.",
            prefix=shown,
            least=SHORTEST,
            most=LONGEST,
        )
        raise DomainError(text)
    if prefix.startswith("-") or prefix.endswith("-"):
        raise DomainError(Phrase("The prefix %(prefix)s must not begin or end with a hyphen.", prefix=shown))
    if prefix.isdigit():
        raise DomainError(
            Phrase("The prefix %(prefix)s must not be digits alone. %(advice)s", prefix=shown, advice=ADVICE)
        )
    domain = host_name(primary)
    host = f"{prefix.lower()}.{domain}"
    if len(host) > LONGEST_NAME:
        text = Phrase(
            "%(name)s… has %(number)s characters. A domain name has at most %(most)s.",
            name=repr(host[:80]),
            number=len(host),
            most=LONGEST_NAME,
        )
        raise DomainError(text)
    return host


def advice(prefix: str) -> str:
    """Return advice about an allowed prefix; most often empty."""
    return "" if prefix[:1].isalpha() else ADVICE


def nginx_block(
    host: str, prefixes: tuple[str, ...], upstream: str = "http://127.0.0.1:8000", files: Collection[str] = ()
) -> str:
    """Return the server block by which nginx serves *host*, with only the paths of this package.

    :param prefixes: the paths under which the public routes live, such as ``("/m",)``.
    :param files: the files for phones, if links open an app, such as ``("/.well-known/assetlinks.json",)``.
    :param upstream: the address at which the app listens.
    """
    places = "".join(
        f"""
    location {place} {{
        proxy_pass {upstream};
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}"""
        for place in (*(f"{prefix}/" for prefix in prefixes), *(f"= {path}" for path in files))
    )
    return f"""server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name {host};
    ssl_certificate     /etc/letsencrypt/live/{host}/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/{host}/privkey.pem;
    large_client_header_buffers 4 16k;
{places}
    location / {{
        return 404;
    }}
}}
"""


def caddy_block(
    host: str, prefixes: tuple[str, ...], ask: str, upstream: str = "127.0.0.1:8000", files: Collection[str] = ()
) -> str:
    """Return the Caddyfile by which Caddy serves *host*, and fetches the certificate at the first request.

    :param ask: the address that Caddy asks about a name. It answers 200 for a tracking host, else 404.
    :param files: as in :func:`nginx_block`.
    """
    paths = " ".join((*(f"{prefix}/*" for prefix in prefixes), *files))
    return f"""{{
    on_demand_tls {{
        ask {ask}
    }}
}}

{host} {{
    tls {{
        on_demand
    }}
    @tracking path {paths}
    handle @tracking {{
        reverse_proxy {upstream}
    }}
    handle {{
        respond 404
    }}
}}
"""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True

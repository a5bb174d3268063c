"""Which links are worth tracking, and which would only lose by it."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import can_be_answered, host_of, is_carried, refusal
from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import APP_PATH, PATHS, Kind
from flask_mailtrack.tokens import LENGTH, Signer

from .one_time import works_once

REMEMBERED = 1_024
"""URLs; only such as may be a destination, so that none of them is large."""

_POSTAL = ("http+notrack:", "https+notrack:")
"""Schemes that Postal makes http again, and does not track."""
_SCHEME = re.compile("https?://", re.IGNORECASE | re.ASCII)
_RELAY_VARIABLE = re.compile(
    r"%(?![0-9A-Fa-f]{2})[A-Za-z_][\w.-]*%|%[A-Za-z_][\w.-]*%(?![0-9A-Fa-f]{2})|\{[$!]", re.ASCII
)
"""``%recipient.id%``, ``{$email}``: a relay cannot fill them in where they are inside a token."""
_TOKEN = re.compile(
    rf"/(?P<path>[{''.join(PATHS.values())}{APP_PATH}])/(?P<token>[a-z2-7]{{{LENGTH}}}.*)", re.IGNORECASE | re.DOTALL
)
_KINDS = {path: kind for kind, path in PATHS.items()} | {APP_PATH: Kind.CLICK}


class Policy:
    """Decides about single links, by their URL and by what a reader sees of them.

    :param settings: of the app: its own addresses, the pattern of one-time links, the scam guard.
    :param signer: tells our own links by their tokens, whatever host they were made for.
    """

    def __init__(self, settings: Settings, signer: Signer | None = None) -> None:
        self._signer = signer
        roots = itertools.product(settings.base_urls(), settings.url_prefix.every)
        self._roots = tuple(f"{base}{prefix}/".lower() for base, prefix in roots)
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        self._works_once = _rule(settings.skip_links)
        self._guard = settings.scam_guard
        self._remembered = functools.lru_cache(REMEMBERED)(self._refuse)

    def refuse(self, url: str) -> str | None:
        """Say why *url* is not tracked, or ``None``.

        :return: ``opted_out``: it has Postal's scheme; a word of :func:`~flask_mailtrack.destination.refusal`, of which
            ``too_long`` stands for URLs of more than :data:`~flask_mailtrack.destination.MAX_LOCATION` characters, too;
            ``own_link``: it is one of ours; ``one_time``: it works once, and a redirect would spend or leak it.
        """
        return self._remembered(url) if is_carried(url) else self._refuse(url)

    def _refuse(self, url: str) -> str | None:
        if url[:15].lower().startswith(_POSTAL):
            return "opted_out"
        if reason := refusal(url):
            return reason
        if url.lower().startswith(self._roots) or self._is_signed(url):
            return "own_link"
        # Not in refusal(), which links that are out are asked, too.
        if not can_be_answered(url):
            return "too_long"
        if _RELAY_VARIABLE.search(url):
            return "placeholder"
        return "one_time" if self._works_once(url) else None

    def _is_signed(self, url: str) -> bool:
        """Say whether *url* is one of ours for a host that we had before."""
        found = _TOKEN.search(url) if self._signer else None
        if self._signer is None or found is None:
            return False
        try:
            self._signer.read(_KINDS[found["path"].lower()], found["token"])
        except TokenError:
            return False
        return True

    def refuse_text(self, url: str, text: str, base_url: str = "") -> str | None:
        """Say why a link with the visible *text* is not tracked, or ``None``.

        A text that begins with a scheme promises where the link leads. Thunderbird warns of a scam if
        that is another site, so such a link is only tracked where the tracking host is of the site shown.

        :param base_url: of the tracking host; default: any of the app's.
        :return: ``looks_elsewhere``.
        """
        text = text.strip()
        if not self._guard or not _SCHEME.match(text):
            return None
        shown = host_of(text.split()[0]).removesuffix(".")
        hosts = [host_of(base_url)] if base_url else self._hosts
        return None if any(_is_of_site(host, shown) for host in hosts) else "looks_elsewhere"


def _is_of_site(host: str, shown: str) -> bool:
    """Say whether *host* is the one shown, or lies under it, or under it without ``www.``."""
    site = shown.removeprefix("www.")
    return bool(site) and (host in (site, shown) or ("." in site and host.endswith(f".{site}")))


def _rule(pattern: str | None) -> Callable[[str], object]:
    """Return what says of a URL that it works once: the host's expression, or our own rule."""
    if pattern is None:
        return works_once
    return re.compile(pattern, re.IGNORECASE).search if pattern else lambda url: None

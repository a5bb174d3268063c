"""Which links are worth tracking, and which would only lose by it."""

from __future__ import annotations

import functools
import itertools
import re

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import MAX_LENGTH, host_of, refusal

REMEMBERED = 1_024
"""URLs; only such as may be a destination, so that none of them is large."""

_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_DOMAIN = re.compile(r"[^\s/@:]+(?:\.[^\s/@:.]+)+(?:[/?#:]\S*)?")


class Policy:
    """Decides about single links, by their URL and by what a reader sees of them.

    :param settings: of the app: its own addresses, the pattern of one-time links, the scam guard.
    """

    def __init__(self, settings: Settings) -> None:
        roots = itertools.product(settings.base_urls(), settings.url_prefix.every)
        self._roots = tuple(f"{base}{prefix}/".lower() for base, prefix in roots)
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        self._one_time = re.compile(settings.skip_links, re.IGNORECASE) if settings.skip_links else None
        self._guard = settings.scam_guard
        self._remembered = functools.lru_cache(REMEMBERED)(self._refuse)

    def refuse(self, url: str) -> str | None:
        """Say why *url* is not tracked, or ``None``.

        :return: a word of :func:`~flask_mailtrack.destination.refusal`; ``own_link``: it is one of ours;
            ``one_time``: it works once, and a redirect would spend or leak it.
        """
        return self._remembered(url) if len(url) <= MAX_LENGTH else self._refuse(url)

    def _refuse(self, url: str) -> str | None:
        if reason := refusal(url):
            return reason
        if url.lower().startswith(self._roots):
            return "own_link"
        return "one_time" if self._one_time and self._one_time.search(url) else None

    def refuse_text(self, url: str, text: str) -> str | None:
        """Say why a link with the visible *text* is not tracked, or ``None``.

        A link whose text is an address, but which leads to another host, is what mail clients warn of
        as a scam (Thunderbird and MailScanner do). Tracked, each honest one would look like that.

        :return: ``looks_elsewhere``.
        """
        shown = self._host_shown(url, text.strip()) if self._guard else ""
        return "looks_elsewhere" if shown and shown not in self._hosts else None

    @staticmethod
    def _host_shown(url: str, text: str) -> str:
        if _URL.fullmatch(text):
            return host_of(text if "//" in text[:8] else f"http://{text}")
        if _DOMAIN.fullmatch(text):  # "Node.js" is no address, unless that is where the link leads
            host = host_of(f"http://{text}")
            return host if host and f".{host_of(url)}".endswith(f".{host}") else ""
        return ""

"""Which addresses in a mail are this app's own."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape
from urllib.parse import urlsplit

from flask_mailtrack.events import APP_PATH, PATHS
from flask_mailtrack.privacy import normalise
from flask_mailtrack.state import State

_SEGMENTS = "|".join((*PATHS.values(), APP_PATH))


class OwnAddresses:
    """The addresses of tracked links, by where they lead.

    :param bases: the base URLs that links may have.
    :param prefixes: that stand before the segment which says what a link is for.
    """

    def __init__(self, bases: Collection[str], prefixes: Collection[str]) -> None:
        self.bases: frozenset[str] = frozenset(base.rstrip("/") for base in bases)
        either = "|".join(map(re.escape, self.bases)), "|".join(map(re.escape, prefixes))
        self._ours = re.compile(rf"(?:{either[0]})(?:{either[1]})/({_SEGMENTS})/[^\s\"'<>]*", re.IGNORECASE)

    @classmethod
    def of(cls, state: State | None, sender: str) -> OwnAddresses:
        """Return the addresses of an app.

        :param sender: whose mail may lead to a tracking domain of its own.
        """
        if state is None:
            return cls((), ())
        settings = state.settings
        chosen = state.office.preparer.operator.base_url(normalise(sender))
        return cls([*settings.base_urls(), chosen], settings.url_prefix.every)

    def segment_of(self, url: str) -> str:
        """Return what an address of this app is for, such as ``c``; empty: the address is somebody else's."""
        found = self._ours.match(url) if self.bases else None
        return found[1].lower() if found else ""

    def found_in(self, html: str) -> dict[str, str]:
        """Return the addresses of this app in a body, each with what it is for, in order.

        They are found by their form alone: a parser of HTML may need hours for a hostile body.
        """
        matches = self._ours.finditer(html) if self.bases else ()
        return {unescape(match[0]): match[1].lower() for match in matches}

    def elsewhere(self, here: str) -> list[str]:
        """Return the base URLs that lead to another place than *here*, this app as it is reached now.

        Only the host is compared: an app behind a proxy that ends TLS may not know its scheme.
        """
        return sorted(base for base in self.bases if urlsplit(base).netloc != urlsplit(here).netloc)

"""The addresses that go into a mail. Built from configuration, never from a request."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from flask_mailtrack.destination import refusal
from flask_mailtrack.events import APP_PATH, PATHS, Kind
from flask_mailtrack.tokens import LinkStamp, MessageTokens

_MAILBOX = "@!$'*+"  # what RFC 6068, section 2, leaves as it is, besides letters, digits and -._~


class Links:
    """The links of one copy.

    :param root: base URL and prefix, such as ``https://links.example.com/m``.
    :param tokens: of the copy.
    :param ref: the recipient's reference.
    :param measured: tokens of pixel and links, if not the copy's own: those of a counter.
    """

    def __init__(self, root: str, tokens: MessageTokens, ref: str, measured: MessageTokens | None = None) -> None:
        self._root = root
        self._tokens = tokens
        self._measured = measured or tokens
        self._quiet = measured is not None
        self._ref = ref
        self._personal: dict[Kind, str] = {}

    def clicks(self, stamps: Sequence[LinkStamp]) -> list[str]:
        """Return the tracked URL of each link."""
        click, app = (f"{self._root}/{path}/" for path in (PATHS[Kind.CLICK], APP_PATH))
        return self._measured.clicks(click, stamps, app)

    def pixel(self) -> str:
        """Return the markup of the pixel, invisible to a reader and silent to a screen reader."""
        url = f"{self._root}/{PATHS[Kind.OPEN]}/{self._measured.open()}.gif"
        return f'<img src="{url}" width="1" height="1" alt="" style="display:block;border:0;width:1px;height:1px">'

    def honeypot(self) -> str:
        """Return the markup of a link that neither eyes, nor a screen reader, nor the tab key can find."""
        url = f"{self._root}/{PATHS[Kind.HONEYPOT]}/{self._measured.honeypot()}"
        return f'<a href="{url}" aria-hidden="true" tabindex="-1" rel="nofollow" style="display:none"></a>'

    def unsubscribe(self) -> str:
        """Return the URL that shows the page on GET and acts on POST."""
        return self._own(Kind.UNSUBSCRIBE)

    def unsubscribe_mailto(self, mailbox: str) -> str:
        """Return a ``mailto:`` URL (RFC 6068) whose subject carries the token, so that the mail can be matched.

        :param mailbox: a bare address.
        """
        token = self.unsubscribe().rpartition("/")[2]
        return f"mailto:{quote(mailbox, safe=_MAILBOX)}?subject=unsubscribe%20{token}"

    def preferences(self) -> str:
        """Return the URL of the recipient's choices."""
        return self._own(Kind.PREFERENCES)

    def _own(self, kind: Kind) -> str:
        if kind not in self._personal:  # header, footer and text may all ask for it
            self._personal[kind] = f"{self._root}/{PATHS[kind]}/{self._tokens.recipient(kind, self._ref, self._quiet)}"
        return self._personal[kind]


def parse_utm(said: str) -> tuple[tuple[str, str], ...]:
    """Read ``content=hero; term=x`` from the ``data-mailtrack-utm`` of a link."""
    items = (item.partition("=") for item in said.split(";"))
    return tuple((k.strip(), v.strip()) for k, _, v in items if k.strip().isidentifier() and k.isascii() and v.strip())


def with_utm(url: str, utm: tuple[tuple[str, str], ...]) -> str:
    """Return *url* with ``utm_…`` parameters, before the fragment; those it already has are kept.

    Nothing else of the URL changes: a query is not re-encoded, for the server may be particular. A
    URL that would be too long for a destination with the parameters goes without them.

    :param url: one that :func:`~flask_mailtrack.destination.refusal` lets pass.
    :param utm: names without the prefix, and values as people read them.
    """
    head, hash_, fragment = url.partition("#")
    path, _, query = head.partition("?")
    present = {item.partition("=")[0].lower() for item in query.split("&")}
    added = [f"utm_{k}={quote(v, safe='')}" for k, v in utm if f"utm_{k}".lower() not in present]
    if not added:
        return url
    kept = [query.rstrip("&")] if query.strip("&") else []
    longer = f"{path}?{'&'.join([*kept, *added])}{hash_}{fragment}"
    return longer if refusal(longer) is None else url

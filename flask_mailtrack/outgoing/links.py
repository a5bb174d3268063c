"""The addresses that go into a mail. Built from configuration, never from a request."""

from __future__ import annotations

import codecs
import re
import string
from collections.abc import Sequence
from urllib.parse import quote

from flask_mailtrack.destination import can_be_answered, refusal
from flask_mailtrack.events import APP_PATH, PATHS, Kind
from flask_mailtrack.tokens import LinkStamp, MessageTokens

from .placeholders import FOREIGN

# Inline and important: nothing in the author's style sheet is stronger, such as img{width:100%!important}.
_PIXEL_STYLE = ";".join(
    f"{name}:{value}!important"
    for name, value in {
        "display": "block",
        "width": "1px",
        "height": "1px",
        "min-width": "0",
        "min-height": "0",
        "margin": "0",
        "padding": "0",
        "border": "0",
    }.items()
)
_SIGNATURES = frozenset(("signature", "sig", "sign", "hmac", "hash", "digest", "mac", "hdnts", "hdnea", "hdntl"))
_BETWEEN = re.compile("[^a-z0-9]+")
_NAME = "{name}"
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation
_NONE = frozenset(("none", "off", "no", "false"))
_MAILBOX = "@!$'*+"  # what RFC 6068, section 2, leaves as it is, besides letters, digits and -._~


_UNSUBSCRIBES = frozenset({"unsubscribe", FOREIGN})


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
        return f'<img src="{url}" width="1" height="1" alt="" style="{_PIXEL_STYLE}">'

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

    def personal(self, slot: str) -> str:
        """Return the URL that a slot for a personal link stands for."""
        return self.unsubscribe() if slot in _UNSUBSCRIBES else self.preferences()

    def _own(self, kind: Kind) -> str:
        if kind not in self._personal:  # header, footer and text may all ask for it
            self._personal[kind] = f"{self._root}/{PATHS[kind]}/{self._tokens.recipient(kind, self._ref, self._quiet)}"
        return self._personal[kind]


def query_charset(charset: str | None) -> str:
    """Return what a browser calls the charset of a mail when it writes a query; empty: UTF-8.

    A browser takes ISO-8859-1 and ASCII for windows-1252 (Encoding Standard, 4.2), and writes UTF-16 as UTF-8.
    """
    try:
        name = codecs.lookup(charset or "utf-8").name
    except LookupError:
        return ""
    return "" if name.startswith(("utf", "ascii")) else "cp1252" if name == "iso8859-1" else name


def as_sent(url: str, charset: str) -> str:
    """Return *url* with its query as a browser sends it from a mail in *charset* (URL Standard, 4.4).

    :param charset: of :func:`query_charset`.
    """
    if not charset or url.isascii():
        return url
    head, hash_, fragment = url.partition("#")
    path, mark, query = head.partition("?")
    written = quote(query.encode(charset, "xmlcharrefreplace"), safe=_PRINTABLE)
    for character in {c for c in query if not c.isascii()}:
        try:
            character.encode(charset)
        except UnicodeEncodeError:  # a browser escapes the signs of the reference, too
            reference = f"&#{ord(character)};"
            written = written.replace(reference, quote(reference))
    return f"{path}{mark}{written}{hash_}{fragment}"


def parse_utm(said: str, default: tuple[tuple[str, str], ...] = ()) -> tuple[tuple[str, str], ...]:
    """Read ``content=hero; term=x`` from the ``data-mailtrack-utm`` of a link.

    :param default: what holds where nothing of it can be read, except ``none`` and the like.
    """
    if said.lower() in _NONE:
        return ()
    items = (item.partition("=") for item in said.split(";"))
    read = ((k.strip(), v.strip()) for k, _, v in items)
    return tuple((k, v) for k, v in read if k.isidentifier() and k.isascii() and v) or default


def with_utm(url: str, utm: tuple[tuple[str, str], ...], name: str = "") -> str:
    """Return *url* with ``utm_…`` parameters, before the fragment; those it already has are kept.

    Nothing else of the URL changes: a query is not re-encoded, for the server may be particular. A
    URL that would be too long for a destination with the parameters goes without them, and so does one that
    is signed: whoever signed the query would refuse another.

    :param url: one that :func:`~flask_mailtrack.destination.refusal` lets pass.
    :param utm: names without the prefix, and values as people read them; ``{name}`` is the name of the link.
    :param name: of the link; a parameter that asks for it is left out if there is none.
    """
    head, hash_, fragment = url.partition("#")
    path, _, query = head.partition("?")
    present = {item.partition("=")[0].lower() for item in query.split("&")}
    if any(not _SIGNATURES.isdisjoint(_BETWEEN.split(parameter)) for parameter in present):
        return url
    added = [
        f"utm_{k}={quote(v.replace(_NAME, name), safe='')}"
        for k, v in utm
        if f"utm_{k}".lower() not in present and (name or _NAME not in v)
    ]
    if not added:
        return url
    kept = [query.rstrip("&")] if query.strip("&") else []
    longer = f"{path}?{'&'.join([*kept, *added])}{hash_}{fragment}"
    return longer if refusal(longer) is None and can_be_answered(longer) else url

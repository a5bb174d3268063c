"""The addresses in a mail, and the choice of the author's links that are worth tracking.

Addresses are built from the configuration, never from a request. Links that work once are left alone: a redirect would
store their secret in clear text, and a scanner could use the link up. Such a URL has a word (reset, confirm,
invitation) and a secret. One of the two is not enough: ``/login`` is a page like any other, and ``?key=`` may be a
search. The host name is not read, and neither are the parameters of marketing tools.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
import string
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import can_be_answered, host_of, is_carried, refusal
from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import APP_PATH, PATHS, Kind
from flask_mailtrack.tokens import LENGTH, LinkStamp, MessageTokens, Signer

from .placeholders import FOREIGN

_WORD = re.compile(
    r"""reset|password|verif|confirm|activat|invit|recover|unlock|oob[_-]?code|magic[ _-]?link|passwordless
      | (?<![bv])log[ _-]?in(?![gks]) | sign[ _-]?in(?![egks]) | change[ _-]?e?mail | e?mail[ _-]?change
      | authenti | authori[sz] | opt[ _-]?in(?![a-z])
      | one[ _-]?time[ _-]?(?:pass|pin|code|link|log|sign|token|url|secret|key)
      | (?<![a-z0-9])(?:auth|otp|2fa|mfa|sso|magic|one[ _-]?time)(?![a-z0-9 _-])""",
    re.VERBOSE,
)
"""The words, matched anywhere in a name: ``resetPassword``, ``confirmation_token``, ``change_email``."""
_SECRETS = frozenset(("token", "code", "key", "ticket", "hash", "sig", "signature", "otp", "secret", "jwt"))
_SECRET_NAME = re.compile(r"(?:token|ticket|secret|otp|jwt|hash|signature)$")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_RUN = re.compile(r"[A-Za-z0-9]{16,}|[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_LETTER, _DIGIT = re.compile("[A-Za-z]"), re.compile("[0-9]")
_MARKETING = re.compile(r"utm_|mc_|_hs|(?:gcl|fbcl|msclk|dcl|gbra|wbra|ttcl|twcl|yclid)i?d?$|_gl$|_ga$")
"""Names of parameters that are not read."""


def works_once(url: str) -> bool:
    """Say whether *url* looks like a link that works once. The time grows with the length of the URL only.

    :param url: an http(s) URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets in a host that is no address
        return False
    fragment_path = ""
    queries = [parts.query]
    if parts.fragment.startswith(("/", "!/")):  # the route of a single-page app
        fragment_path, _, query = parts.fragment.partition("?")
        queries.append(query)
    elif "=" in parts.fragment:
        queries.append(parts.fragment)
    segments = [unquote(segment) for segment in f"{parts.path}/{fragment_path}".split("/")]
    parameters = [pair for query in queries for pair in _parameters(query)]
    words = [*segments, *(text for pair in parameters for text in pair)]
    if not any(map(_says_so, words)):
        return False
    named = any(value and _names_a_secret(name) for name, value in parameters)
    return named or any(map(_has_a_run, words)) or _has_a_number_behind_a_word(segments)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return ((name, value) for name, value in pairs if not _MARKETING.match(name.lower()))


def _says_so(text: str) -> bool:
    return _WORD.search(text.lower()) is not None


def _names_a_secret(name: str) -> bool:
    pieces = _PIECE.findall(name)
    return bool(pieces) and (pieces[-1].lower() in _SECRETS or _SECRET_NAME.search(name.lower()) is not None)


def _has_a_run(text: str) -> bool:
    return any("-" in run or (_LETTER.search(run) and _DIGIT.search(run)) for run in _RUN.findall(text))


def _has_a_number_behind_a_word(segments: list[str]) -> bool:
    return any(number.isdecimal() and _says_so(before) for before, number in pairwise(segments))


REMEMBERED = 1_024
"""The number of remembered URLs. Only possible destinations are remembered, so none of them is large."""

_POSTAL = ("http+notrack:", "https+notrack:")
"""Schemes that Postal turns back into http, and does not track."""
_SCHEME = re.compile("https?://", re.IGNORECASE | re.ASCII)
_RELAY_VARIABLE = re.compile(
    r"%(?![0-9A-Fa-f]{2})[A-Za-z_][\w.-]*%|%[A-Za-z_][\w.-]*%(?![0-9A-Fa-f]{2})|\{[$!]", re.ASCII
)
"""``%recipient.id%``, ``{$email}``: a relay cannot fill in variables inside a token."""
_TOKEN = re.compile(
    rf"/(?P<path>[{''.join(PATHS.values())}{APP_PATH}])/(?P<token>[a-z2-7]{{{LENGTH}}}.*)", re.IGNORECASE | re.DOTALL
)
_KINDS = {path: kind for kind, path in PATHS.items()} | {APP_PATH: Kind.CLICK}


class Policy:
    """Decides about single links, by their URL and their visible text.

    :param settings: of the app: its own addresses, the pattern of one-time links, the scam guard.
    :param signer: recognises tracked links by their tokens, also those for a former host.
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
        """Return the reason for which *url* is not tracked, or ``None``.

        :return: ``opted_out``: the URL has Postal's scheme; a word of :func:`~flask_mailtrack.destination.refusal`
            (``too_long`` also for more than :data:`~flask_mailtrack.destination.MAX_LOCATION` characters);
            ``own_link``: the URL is of this app; ``one_time``: the link works once, and a redirect would spend it.
        """
        return self._remembered(url) if is_carried(url) else self._refuse(url)

    def _refuse(self, url: str) -> str | None:
        if url[:15].lower().startswith(_POSTAL):
            return "opted_out"
        if reason := refusal(url):
            return reason
        if url.lower().startswith(self._roots) or self._is_signed(url):
            return "own_link"
        # Not part of refusal(), because refusal() is also asked about links that are out.
        if not can_be_answered(url):
            return "too_long"
        if _RELAY_VARIABLE.search(url):
            return "placeholder"
        return "one_time" if self._works_once(url) else None

    def _is_signed(self, url: str) -> bool:
        """Say whether *url* is a tracked link for a former host."""
        found = _TOKEN.search(url) if self._signer else None
        if self._signer is None or found is None:
            return False
        try:
            self._signer.read(_KINDS[found["path"].lower()], found["token"])
        except TokenError:
            return False
        return True

    def refuse_text(self, url: str, text: str, base_url: str = "") -> str | None:
        """Return the reason for which a link with the visible *text* is not tracked, or ``None``.

        A text that begins with a scheme promises a destination. Thunderbird warns of a scam if the link leads to
        another site. So such a link is tracked only if the tracking host belongs to the site in the text.

        :param base_url: the base URL of the tracking host; default: any of the app's.
        :return: ``looks_elsewhere``.
        """
        text = text.strip()
        if not self._guard or not _SCHEME.match(text):
            return None
        shown = host_of(text.split()[0]).removesuffix(".")
        hosts = [host_of(base_url)] if base_url else self._hosts
        return None if any(_is_of_site(host, shown) for host in hosts) else "looks_elsewhere"


def _is_of_site(host: str, shown: str) -> bool:
    """Say whether *host* is the shown host, or lies under it, or under it without ``www.``."""
    site = shown.removeprefix("www.")
    return bool(site) and (host in (site, shown) or ("." in site and host.endswith(f".{site}")))


def _rule(pattern: str | None) -> Callable[[str], object]:
    """Return the rule for links that work once: the host's expression, or the rule of this module."""
    if pattern is None:
        return works_once
    return re.compile(pattern, re.IGNORECASE).search if pattern else lambda url: None


# Inline and important, because a style sheet may say img{width:100%!important}.
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
_MAILBOX = "@!$'*+"  # RFC 6068, section 2, leaves these as they are, besides letters, digits and -._~


_UNSUBSCRIBES = frozenset({"unsubscribe", FOREIGN})


class Links:
    """The links of one copy.

    :param root: base URL and prefix, such as ``https://links.example.com/m``.
    :param tokens: the tokens of the copy.
    :param ref: the recipient's reference.
    :param measured: the tokens for pixel and links if they are those of a counter; default: the copy's own.
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
        """Return the markup of the hidden link. Eyes, screen readers and the tab key do not find it."""
        url = f"{self._root}/{PATHS[Kind.HONEYPOT]}/{self._measured.honeypot()}"
        return f'<a href="{url}" aria-hidden="true" tabindex="-1" rel="nofollow" style="display:none"></a>'

    def unsubscribe(self) -> str:
        """Return the URL that shows the page on GET and acts on POST."""
        return self._own(Kind.UNSUBSCRIBE)

    def unsubscribe_mailto(self, mailbox: str) -> str:
        """Return a ``mailto:`` URL (RFC 6068) with the token in the subject, so that the mail can be matched.

        :param mailbox: a bare address.
        """
        token = self.unsubscribe().rpartition("/")[2]
        return f"mailto:{quote(mailbox, safe=_MAILBOX)}?subject=unsubscribe%20{token}"

    def preferences(self) -> str:
        """Return the URL of the recipient's preferences."""
        return self._own(Kind.PREFERENCES)

    def copy(self) -> str:
        """Return the token by which a service names the copy in what it tells."""
        return self._tokens.recipient(Kind.COPY, self._ref)

    def personal(self, slot: str) -> str:
        """Return the URL for a slot of a personal link."""
        if slot == "online":
            return f"{self._root}/{PATHS[Kind.ONLINE]}/{self._tokens.online()}"
        return self.unsubscribe() if slot in _UNSUBSCRIBES else self.preferences()

    def _own(self, kind: Kind) -> str:
        if kind not in self._personal:  # made once, because header, footer and text may all ask for it
            self._personal[kind] = f"{self._root}/{PATHS[kind]}/{self._tokens.recipient(kind, self._ref, self._quiet)}"
        return self._personal[kind]


def query_charset(charset: str | None) -> str:
    """Return the charset in which a browser writes the query of a link in a mail; empty: UTF-8.

    A browser reads ISO-8859-1 and ASCII as windows-1252 (Encoding Standard, 4.2), and writes UTF-16 as UTF-8.
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

    :param default: the result if nothing can be read, except for ``none`` and the like.
    """
    if said.lower() in _NONE:
        return ()
    items = (item.partition("=") for item in said.split(";"))
    read = ((k.strip(), v.strip()) for k, _, v in items)
    return tuple((k, v) for k, v in read if k.isidentifier() and k.isascii() and v) or default


def with_utm(url: str, utm: tuple[tuple[str, str], ...], name: str = "") -> str:
    """Return *url* with ``utm_…`` parameters before the fragment. Parameters in the URL are kept.

    Nothing else in the URL changes. A query is not encoded again, because its server may be particular. A URL that
    the parameters would make too long goes without them. A signed URL goes without them, too, because its server
    would refuse another query.

    :param url: a URL that :func:`~flask_mailtrack.destination.refusal` lets pass.
    :param utm: names without the prefix, and values before encoding; ``{name}`` is the name of the link.
    :param name: the name of the link; without a name, parameters with ``{name}`` are left out.
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

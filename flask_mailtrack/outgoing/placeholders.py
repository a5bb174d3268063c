"""Placeholders: they stand for a personal link until the recipient is known.

A template is rendered before the recipient is known. So the Jinja globals give URLs under a host that can never
exist (RFC 2606, section 2), in letters that no escaping changes. The send replaces each URL by the recipient's own.
A key is part of the host name, so that a stranger whose text the host mails cannot write a placeholder.

The slots of a body are the placeholders that are filled in. A placeholder is filled in only as a whole: as the whole
value of an attribute, or as a whole word of text. Inside a longer URL, such as ``https://example.com/?u=…``, a
stranger would get the recipient's link.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import unescape
from typing import NamedTuple

from markupsafe import Markup

from flask_mailtrack.syntax import Stretch, stretches

WORDS = {
    "unsubscribe": "unsubscribe",
    "preferences": "preferences",
    "optout": "tracking-optout",
    "pixel": "pixel",
    "online": "view-online",
}
"""The names of the slots, and the words with which their host names begin."""

FOREIGN = "foreign"
"""The name of the slots of other services: an unsubscribe link."""

PERSONAL = frozenset({"unsubscribe", "preferences", "optout", "online", FOREIGN})
"""The slots with personal links."""

LEADS_OUT = frozenset({"unsubscribe", "preferences", FOREIGN})
"""The slots by which a recipient can leave a list."""

# The unsubscribe placeholders of other services, so that their templates work here as they are.
# Blanks may be missing or repeated.
_FOREIGN = (
    "%%user_defined_unsubscribe_link%%",  # SendCloud (Aurora)
    "<% asm_group_unsubscribe_raw_url %>",  # SendGrid
    "<% asm_group_unsubscribe_url %>",
    "<% asm_global_unsubscribe_raw_url %>",
    "<% asm_global_unsubscribe_url %>",
    "{{{ unsubscribe }}}",
    "[unsubscribe]",  # SendGrid before, Sendy; phpList in capitals
    "%unsubscribe_url%",  # Mailgun
    "%tag_unsubscribe_url%",
    "%mailing_list_unsubscribe_url%",
    "{{ amazonSESUnsubscribeUrl }}",
    "{{{ pm:unsubscribe }}}",  # Postmark
    "{{ pm:unsubscribe }}",
    "{{{ RESEND_UNSUBSCRIBE_URL }}}",  # Resend
    "*|UNSUB|*",  # Mailchimp
    "{{ unsubscribe }}",  # Brevo
    "{% unsubscribe_link %}",  # Klaviyo
    "{% unsubscribe_url %}",  # Customer.io
    "{{ unsubscribeUrl }}",  # Iterable; listmonk and EmailOctopus with a capital
    "{{ UnsubscribeURL . }}",  # listmonk
    "{{ ${set_user_to_unsubscribed_url} }}",  # Braze
    "{{ unsubscribe_link }}",  # HubSpot
    "{{ unsubscribe_url }}",  # ConvertKit
    "{{ system.unsubscribeLink }}",  # Marketo
    "{$unsubscribe}",  # MailerLite
    "{unsubscribe_url}",  # Mautic
    "{unsubscribe_text}",
    "%UNSUBSCRIBELINK%",  # ActiveCampaign
    "[unsubscribe_url]",  # OneSignal
    "[%UNSUB%]",  # Netcore
    "[LINK_UNSUBSCRIBE]",  # Mailtrain
    "[UNSUBSCRIBEURL]",  # phpList
)
_HOST = "mailtrack.invalid"
_NAMED = {
    "<": "lt",
    ">": "gt",
    "{": "lbrace|lcub",
    "}": "rbrace|rcub",
    "[": "lbrack|lsqb",
    "]": "rbrack|rsqb",
    "|": "vert|verbar|VerticalLine",
    "*": "ast|midast",
    "%": "percnt",
    "$": "dollar",
    ":": "colon",
    "/": "sol",
    ".": "period",
    "_": "lowbar|UnderBar",
}
_BLANKS = "(?:\\s|%20|&nbsp;|&#0*(?:32|160);|&#x0*(?:20|a0);){0,20}"


def _spelled(text: str, *, percent: bool) -> str:
    """Return a pattern for *text*, as it is and as tools that inline CSS escape it.

    :param percent: also percent-encoded.
    """
    return "".join(_spellings(character, percent) for character in text)


def _spellings(character: str, percent: bool) -> str:
    if character == " ":
        return _BLANKS
    if character.isalnum():
        return character
    code = ord(character)
    ways = [f"&#0*{code};", f"&#x0*{code:x};", *([f"%{code:02x}"] if percent else [])]
    if names := _NAMED.get(character):
        ways.append(f"&(?:{names});")
    # The character itself comes last, because an encoded character begins with a percent sign.
    return f"(?:{'|'.join(ways)}|{re.escape(character)})"


def _alone(token: str) -> str:
    """Find *token*, but not inside a longer one: ``%%unsubscribe_url%%``."""
    return rf"(?<!{re.escape(token[0])}){_spelled(token, percent=True)}(?!{re.escape(token[-1])})"


_SCHEME = rf"https?{_spelled('://', percent=True)}"
_TOKENS = "|".join(
    [*map(_alone, _FOREIGN), f"{_spelled('[[UNSUB_LINK_', percent=True)}[a-z]{{2}}{_spelled(']]', percent=True)}"]
)  # Mailjet
# Editors put a scheme before text that does not look like an address.
_OTHERS = rf"(?<![a-z])(?P<{FOREIGN}>{_SCHEME}{_spelled('$UNSUB$', percent=True)}(?!\$)|(?:{_SCHEME})?(?:{_TOKENS}))"
_HINT = re.compile(rf"{re.escape(_HOST)}|unsub", re.IGNORECASE)
"""Every placeholder holds one of these. Most bodies hold neither, and need not be read again."""


class Placeholders:
    """The placeholders of one app.

    :param labels: returns, for the word of a slot, the labels that follow the word in the host name: one for each
        signing key, newest first. Labels of older keys are in templates that were rendered before.
    """

    def __init__(self, labels: Callable[[str], Sequence[str]]) -> None:
        hosts = {slot: [f"{word}-{label}.{_HOST}" for label in labels(word)] for slot, word in WORDS.items()}
        self.urls: dict[str, str] = {slot: f"https://{names[0]}/" for slot, names in hosts.items()}
        """By slot."""
        self.pixel: str = f'<img src="{self.urls["pixel"]}" width="1" height="1" alt="">'
        """The only placeholder that is markup, which escaping changes. It is found escaped, too."""
        self._hosts = [host.encode() for names in hosts.values() for host in names]
        either = "|".join(f"(?P<{slot}>{'|'.join(map(re.escape, names))})" for slot, names in hosts.items())
        # The host and the name must not be part of longer ones. A full stop behind them ends the sentence.
        end = rf"(?![a-z0-9-]|\.[a-z0-9])(?:{_spelled('/', percent=False)})?"
        own = rf"https?{_spelled('://', percent=False)}(?:{either}){end}"
        self.own: re.Pattern[str] = re.compile(own, re.IGNORECASE)
        """Finds placeholders of this package. The name of the matching group is the slot."""
        self.every: re.Pattern[str] = re.compile(rf"{own}|{_OTHERS}", re.IGNORECASE)
        """Finds placeholders of this package and of other services (group :data:`FOREIGN`)."""
        self.images: re.Pattern[str] = _images("|".join(map(re.escape, hosts["pixel"])) + end)
        """Finds the markup of the pixel in text, as it is and escaped."""

    def left_in(self, page: bytes | str) -> bool:
        """Say whether *page* holds a placeholder of this package, in any form."""
        data = page.encode("utf-8", "replace") if isinstance(page, str) else page
        return _HOST.encode() in data and any(host in data for host in self._hosts)

    def shown(self, text: str, url: Callable[[str], str]) -> str:
        """Return *text* for people to read. Placeholders are replaced, so that the key is not shown.

        :param url: returns the replacement for a slot.
        """
        return self.own.sub(lambda match: url(match.lastgroup or ""), text) if _HOST in text.lower() else text

    def unsubscribe_link(self, text: str = "Unsubscribe") -> Markup:
        """Return a link to the recipient's unsubscribe page."""
        return Markup('<a href="{}">{}</a>').format(self.urls["unsubscribe"], text)

    def jinja_globals(self) -> Mapping[str, Callable[..., str]]:
        """Return the functions for templates of mails."""
        return {
            "unsubscribe_url": lambda: self.urls["unsubscribe"],
            "unsubscribe_link": self.unsubscribe_link,
            "preferences_url": lambda: self.urls["preferences"],
            "tracking_optout_url": lambda: self.urls["optout"],
            "view_online_url": lambda: self.urls["online"],
            "tracking_pixel": lambda: Markup(self.pixel),  # noqa: S704 - made here, from a key only
        }


def hinted(body: str) -> bool:
    """Say whether *body* may have a placeholder in it."""
    return _HINT.search(body) is not None


def readable(token: str) -> str:
    """Return a placeholder of another service in the author's spelling."""
    return html.unescape(token)


def _images(pixel: str) -> re.Pattern[str]:
    quote = r"(?:[\"'=]|&quot;|&#3[49];)"
    url = rf"src\s*=\s*{quote}?\s*https?://(?:{pixel})\s*(?=[\"'\s/>]|&quot;|&#3[49];|&gt;)"
    escaped = r"(?:(?!&[lg]t;)[^<>])*?"
    return re.compile(rf"<img\b[^<>]*?{url}[^<>]*>|&lt;img\b{escaped}{url}{escaped}&gt;", re.IGNORECASE)


# Blanks and marks that end a word in any script. Chinese and Japanese put no blank before their punctuation.
_STOP = re.compile(
    r'[\s\x00-\x20\xa0\u200b\u2060\ufeff<>"`\u3001-\u3003\u3008-\u3011\u3014-\u301b！（），．：；？［］｛｝｡､｢｣]'
)
_IN_URL = frozenset("/?&#%=@\\.+")
_BEHIND = re.compile(r"[.,:;!?'*|…‥،؛؟।’‘‚”“„«»‹›)\]}_~–—-]*(?:\Z|(?<=[)\]}'’”»›]))")
_NEAR = 400
"""The number of characters around a placeholder in which its word is read. In a longer word it is not filled in."""


class Slot(NamedTuple):
    """A placeholder in a body."""

    start: int
    end: int
    name: str
    """The name of the slot; empty: the placeholder stays as it is."""
    leads_out: bool = False
    """Whether a reader can leave a list by the link."""
    said: str = ""
    """A placeholder that stays, in the author's spelling; empty if the author need not be told."""


class Slots:
    """Finds the slots of bodies.

    :param others: whether to look for the placeholders of other services.
    :param url: returns the text that people see instead of a placeholder.
    """

    def __init__(self, placeholders: Placeholders, others: bool, url: Callable[[str], str]) -> None:
        self._placeholders = placeholders
        self._pattern = placeholders.every if others else placeholders.own
        self._url = url

    def in_text(self, text: str, foreign: bool) -> list[Slot]:
        """Return the slots of a plain text, in order.

        :param foreign: whether to fill in the placeholders of other services; else they stay.
        """
        if not hinted(text):
            return []
        return list(self._in_words(text, Stretch(0, len(text)), foreign, escaped=False))

    def in_html(self, html: str, foreign: bool) -> list[Slot]:
        """Return the slots of an HTML text, in order; see :meth:`in_text`."""
        if not hinted(html):
            return []
        found: list[Slot] = []
        for stretch in stretches(html):
            if found and stretch.start < found[-1].end:  # inside the markup of a pixel
                continue
            if stretch.attribute:
                found += self._in_value(html, stretch, foreign)
            else:
                found += self._in_words(html, stretch, foreign, escaped=True)
        return found

    def _in_value(self, html: str, stretch: Stretch, foreign: bool) -> Iterator[Slot]:
        for match in self._pattern.finditer(html, stretch.start, stretch.end):
            around = html[stretch.start : match.start()] + html[match.end() : stretch.end]
            whole = not unescape(around).strip()
            if match.lastgroup == "pixel":
                whole = whole and (stretch.name, stretch.attribute) == ("img", "src")
                yield self._slot(match, stretch.tag if whole else match.span(), whole, foreign)
            elif match.lastgroup == FOREIGN:
                # A template language may be in any attribute. Only for an address is the replacement known.
                whole = whole and stretch.attribute == "href"
                yield self._slot(match, match.span(), whole, foreign, stretch.followable)
            else:
                yield self._slot(match, match.span(), whole, foreign, stretch.followable)

    def _in_words(self, text: str, stretch: Stretch, foreign: bool, escaped: bool) -> Iterator[Slot]:
        images = [Slot(*match.span(), "pixel") for match in self._images(text, stretch)]
        for match in self._pattern.finditer(text, stretch.start, stretch.end):
            while images and images[0].end <= match.start():
                yield images.pop(0)
            if images and images[0].start < match.end():
                continue
            before, behind = _around(text, stretch, match, escaped)
            whole = _is_word(before, behind) and match.lastgroup != "pixel"
            slot = self._slot(match, match.span(), whole, foreign, not escaped)
            in_prose = match.lastgroup == FOREIGN and not whole and "://" not in before
            yield slot._replace(said="") if in_prose else slot
        yield from images

    def _images(self, text: str, stretch: Stretch) -> Iterator[re.Match[str]]:
        return self._placeholders.images.finditer(text, stretch.start, stretch.end)

    def _slot(
        self, match: re.Match[str], span: tuple[int, int], whole: bool, foreign: bool, followable: bool = False
    ) -> Slot:
        name = match.lastgroup or ""
        if whole and (foreign or name != FOREIGN):
            return Slot(*span, name, followable and name in LEADS_OUT)
        return Slot(*span, "", said=self._placeholders.shown(readable(match[0]), self._url))


def _around(text: str, stretch: Stretch, match: re.Match[str], escaped: bool) -> tuple[str, str]:
    """Return the characters of the same word before and behind a match."""
    before = text[max(stretch.start, match.start() - _NEAR) : match.start()]
    behind = text[match.end() : min(stretch.end, match.end() + _NEAR)]
    if escaped:
        before, behind = unescape(before), unescape(behind)
    if match.start() - stretch.start > _NEAR and not _STOP.search(before):
        before = f"/{before}"  # the beginning of the word is out of sight, so it counts as part of a URL
    return _STOP.split(before)[-1], _STOP.split(behind, maxsplit=1)[0]


def _is_word(before: str, behind: str) -> bool:
    last = before[-1:]
    if (last.isalnum() and last < "\u2e80") or not _IN_URL.isdisjoint(before):
        return False
    return _BEHIND.match(behind) is not None

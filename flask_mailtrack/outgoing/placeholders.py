"""Placeholders: what stands for a personal link until the recipient is known.

A template is rendered before anybody knows to whom the mail goes. The Jinja globals therefore give URLs
under a host that can never exist (RFC 2606, section 2), in letters that no escaping changes; the send
replaces each URL by the recipient's own. A key is part of the host, so that a stranger whose text the
host mails cannot write a placeholder.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

WORDS = {"unsubscribe": "unsubscribe", "preferences": "preferences", "optout": "tracking-optout", "pixel": "pixel"}
"""The name of each slot, and the word by which its host begins."""

FOREIGN = "foreign"
"""The name of the slots of other services: an unsubscribe link."""

PERSONAL = frozenset({"unsubscribe", "preferences", "optout", FOREIGN})
"""The slots that are one person's."""

LEADS_OUT = frozenset({"unsubscribe", "preferences", FOREIGN})
"""The slots by which a recipient can leave a list."""

# The unsubscribe placeholders of other services, so that their templates work here as they are.
# A blank may be missing, or be several.
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
    """Return a pattern for *text* as it is, and as the tools that inline CSS escape it.

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
    # The character itself comes last: a percent sign is the beginning of one that is encoded.
    return f"(?:{'|'.join(ways)}|{re.escape(character)})"


def _alone(token: str) -> str:
    """Find *token*, but not inside a longer one: ``%%unsubscribe_url%%``."""
    return rf"(?<!{re.escape(token[0])}){_spelled(token, percent=True)}(?!{re.escape(token[-1])})"


_SCHEME = rf"https?{_spelled('://', percent=True)}"
_TOKENS = "|".join(
    [*map(_alone, _FOREIGN), f"{_spelled('[[UNSUB_LINK_', percent=True)}[a-z]{{2}}{_spelled(']]', percent=True)}"]
)  # Mailjet
# An editor puts a scheme before what does not look like an address to it.
_OTHERS = rf"(?<![a-z])(?P<{FOREIGN}>{_SCHEME}{_spelled('$UNSUB$', percent=True)}(?!\$)|(?:{_SCHEME})?(?:{_TOKENS}))"
_HINT = re.compile(rf"{re.escape(_HOST)}|unsub", re.IGNORECASE)
"""Every placeholder has one of these in it; most bodies have neither, and need not be read again."""


class Placeholders:
    """The placeholders of one app.

    :param labels: returns, for the word of a slot, what follows the word in the host: one label for each
        signing key, newest first. Those of older keys are in templates that were rendered before.
    """

    def __init__(self, labels: Callable[[str], Sequence[str]]) -> None:
        hosts = {slot: [f"{word}-{label}.{_HOST}" for label in labels(word)] for slot, word in WORDS.items()}
        self.urls = {slot: f"https://{names[0]}/" for slot, names in hosts.items()}
        """By slot."""
        self.pixel = f'<img src="{self.urls["pixel"]}" width="1" height="1" alt="">'
        """Markup, so it is the one that escaping changes; it is found escaped, too."""
        self._hosts = [host.encode() for names in hosts.values() for host in names]
        either = "|".join(f"(?P<{slot}>{'|'.join(map(re.escape, names))})" for slot, names in hosts.items())
        # Neither a longer host nor a longer name; a full stop behind it ends the sentence.
        end = rf"(?![a-z0-9-]|\.[a-z0-9])(?:{_spelled('/', percent=False)})?"
        own = rf"https?{_spelled('://', percent=False)}(?:{either}){end}"
        self.own = re.compile(own, re.IGNORECASE)
        """Finds our placeholders; the name of the matching group says which."""
        self.every = re.compile(rf"{own}|{_OTHERS}", re.IGNORECASE)
        """Finds ours and those of other services (group :data:`FOREIGN`)."""
        self.images = _images("|".join(map(re.escape, hosts["pixel"])) + end)
        """Finds the markup of the pixel where it is text: as it is, and escaped."""

    def left_in(self, page: bytes | str) -> bool:
        """Say whether *page* holds one of ours, in whatever form."""
        data = page.encode("utf-8", "replace") if isinstance(page, str) else page
        return _HOST.encode() in data and any(host in data for host in self._hosts)

    def shown(self, text: str, url: Callable[[str], str]) -> str:
        """Return *text* for people to read: with ours replaced, so that the key is nowhere to be seen.

        :param url: returns what stands for a slot.
        """
        return self.own.sub(lambda match: url(match.lastgroup or ""), text) if _HOST in text.lower() else text

    def unsubscribe_link(self, text: str = "Unsubscribe") -> Markup:
        """Return a link to the recipient's unsubscribe page."""
        return Markup('<a href="{}">{}</a>').format(self.urls["unsubscribe"], text)

    def jinja_globals(self) -> Mapping[str, Callable[..., str]]:
        """Return what templates of mails may call."""
        return {
            "unsubscribe_url": lambda: self.urls["unsubscribe"],
            "unsubscribe_link": self.unsubscribe_link,
            "preferences_url": lambda: self.urls["preferences"],
            "tracking_optout_url": lambda: self.urls["optout"],
            "tracking_pixel": lambda: Markup(self.pixel),  # noqa: S704 - made here, of nothing but a key
        }


def hinted(body: str) -> bool:
    """Say whether *body* may have a placeholder in it."""
    return _HINT.search(body) is not None


def readable(token: str) -> str:
    """Return a placeholder of another service as its author knows it."""
    return html.unescape(token)


def _images(pixel: str) -> re.Pattern[str]:
    quote = r"(?:[\"'=]|&quot;|&#3[49];)"
    url = rf"src\s*=\s*{quote}?\s*https?://(?:{pixel})\s*(?=[\"'\s/>]|&quot;|&#3[49];|&gt;)"
    escaped = r"(?:(?!&[lg]t;)[^<>])*?"
    return re.compile(rf"<img\b[^<>]*?{url}[^<>]*>|&lt;img\b{escaped}{url}{escaped}&gt;", re.IGNORECASE)

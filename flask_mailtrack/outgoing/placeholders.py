"""What stands for a personal link until the recipient is known.

A template is rendered before anybody knows to whom it goes. So the Jinja globals emit URLs under a
host that can never exist (RFC 2606, section 2), made of letters that no escaping changes; the send
replaces each by the recipient's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markupsafe import Markup

_HOST = "mailtrack.invalid"

UNSUBSCRIBE = f"https://unsubscribe.{_HOST}/"
PREFERENCES = f"https://preferences.{_HOST}/"
TRACKING_OPTOUT = f"https://tracking-optout.{_HOST}/"
PIXEL = f'<img src="https://pixel.{_HOST}/" width="1" height="1" alt="">'
"""Markup, so it is the one that escaping changes; it is found escaped, too."""

# The unsubscribe placeholders of other services, so that their templates work here as they are.
_FOREIGN = (
    "%%user_defined_unsubscribe_link%%",  # SendCloud (Aurora)
    "<%asm_group_unsubscribe_raw_url%>",  # SendGrid
    "<%asm_global_unsubscribe_raw_url%>",
    "%unsubscribe_url%",  # Mailgun
    "%tag_unsubscribe_url%",
    "%mailing_list_unsubscribe_url%",
    "{{amazonSESUnsubscribeUrl}}",
    "{{{ pm:unsubscribe }}}",  # Postmark
    "*|UNSUB|*",  # Mailchimp
    "{{ unsubscribe }}",  # Brevo
    "{% unsubscribe_link %}",  # Klaviyo
    "{% unsubscribe_url %}",  # Customer.io
    "{{unsubscribeUrl}}",  # Iterable
    "{{${set_user_to_unsubscribed_url}}}",  # Braze
    "{{ unsubscribe_link }}",  # HubSpot
    "{{system.unsubscribeLink}}",  # Marketo
    "{$unsubscribe}",  # MailerLite
    "%UNSUBSCRIBELINK%",  # ActiveCampaign
    "[unsubscribe_url]",  # OneSignal
    "[%UNSUB%]",  # Netcore
    "https://$UNSUB$",  # dotdigital
)


def _token(token: str) -> str:
    """Find *token* with or without its blanks, but not inside a longer one: ``%%unsubscribe_url%%``."""
    before, after = (re.escape(edge) if not edge.isalnum() else r"\w" for edge in (token[0], token[-1]))
    return rf"(?<!{before}){re.escape(token)}(?!{after})".replace(r"\ ", r"\s*")


_foreign = "|".join([*map(_token, sorted(_FOREIGN, key=len, reverse=True)), r"\[\[UNSUB_LINK_[A-Z]{2}\]\]"])  # Mailjet
# Neither a longer host nor a longer name; a full stop behind it ends the sentence.
_host = rf"{re.escape(_HOST)}(?![a-z0-9-]|\.[a-z0-9])"

OWN = re.compile(
    rf"(?P<pixel><img\b[^<>]*https://pixel\.{_host}[^<>]*>"
    rf"|&lt;img\b(?:(?!&[lg]t;)[^<>])*https://pixel\.{_host}(?:(?!&[lg]t;)[^<>])*&gt;)"
    r"|https?://(?:(?P<unsubscribe>unsubscribe)|(?P<preferences>preferences)|(?P<optout>tracking-optout))"
    rf"\.{_host}/?",
    re.IGNORECASE,
)
"""Finds our placeholders; the name of the matching group says which."""

ALL = re.compile(rf"{OWN.pattern}|(?P<foreign>{_foreign})", re.IGNORECASE)
"""Finds ours and those of other services (group ``foreign``: an unsubscribe link)."""

PERSONAL = frozenset({"unsubscribe", "preferences", "optout", "foreign"})
"""The slots that are one person's."""

LEADS_OUT = frozenset({"unsubscribe", "preferences", "foreign"})
"""The slots by which a recipient can leave a list."""


def unsubscribe_link(text: str = "Unsubscribe") -> Markup:
    """Return a link to the recipient's unsubscribe page."""
    return Markup('<a href="{}">{}</a>').format(UNSUBSCRIBE, text)


JINJA_GLOBALS: dict[str, Callable[..., str]] = {
    "unsubscribe_url": lambda: UNSUBSCRIBE,
    "unsubscribe_link": unsubscribe_link,
    "preferences_url": lambda: PREFERENCES,
    "tracking_optout_url": lambda: TRACKING_OPTOUT,
    "tracking_pixel": lambda: Markup(PIXEL),  # noqa: S704 - a constant of ours
}
"""What templates of mails may call."""

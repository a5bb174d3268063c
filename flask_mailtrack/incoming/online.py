"""A mail in its reader's browser: the kept body, with the links of that reader's copy.

Nothing is recorded when the page is shown, and no pixel is in it. A link in it is the tracked link of the copy, if the
copy has links of its own. The page is a stranger's HTML under the name of the tracking host, so it has an origin of its
own (``sandbox``), and neither scripts nor forms. Its pictures come from where the author put them, as in a mail client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import Blocked, is_carried
from flask_mailtrack.drawing import LinkPlace, Manner, draw
from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import APP_PATH, PATHS, Kind, born, now
from flask_mailtrack.modes import Mode
from flask_mailtrack.storage.tables.body_shelf import ReadersMail, mail_of
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.tokens import Signer, Token

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

HEADERS = (
    (
        "Content-Security-Policy",
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src https: http: data:; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
)
"""The headers of the page, besides those of every answer."""
_ON_ITS_WAY = timedelta(hours=1)
_NOWHERE = "https://mailtrack.invalid/"


class Online:
    """Shows mails to their readers.

    :param base_url: returns the base URL for links in mail of a sender.
    """

    def __init__(self, settings: Settings, signer: Signer, database: Database, base_url: Callable[[str], str]) -> None:
        self._prefix = settings.url_prefix
        self._blocked = Blocked(settings.blocked)
        self._signer = signer
        self._database = database
        self._base_url = base_url

    def page(self, token: Token) -> str | None:
        """Return the HTML of a mail; ``None`` if its body is not kept, or its reader is forgotten.

        :raises TokenError: the host has switched the links of this message off.
        :raises LookupError: the mail is so young that its row may be on its way.
        :raises Exception: the database cannot be asked.
        """
        if self._blocked(token.message_id, _NOWHERE):
            raise TokenError("blocked")
        try:
            mail = mail_of(self._database, token.message_id)
        except LookupError:
            if now() - born(token.message_id) < _ON_ITS_WAY:
                raise
            return None
        except ValueError:
            log.exception("a kept body cannot be read")
            return None
        return draw(mail.body, self._manner(token, mail)) if mail else None

    def _manner(self, token: Token, mail: ReadersMail) -> Manner:
        root = f"{self._base_url(mail.sender)}{self._prefix}"
        tokens, ref = self._signer.message(token.message_id), self._signer.recipient_refs(mail.recipient)[0]
        quiet = mail.mode == Mode.AGGREGATE

        def own(kind: Kind) -> str:
            # A page is passed on more easily than a mail, so it shows and changes one list only.
            told = tokens.recipient(kind, ref, quiet, narrow=kind == Kind.PREFERENCES)
            return f"{root}/{PATHS[kind]}/{told}"

        def link(place: LinkPlace) -> str:
            if not mail.tracked or quiet or not is_carried(place.url):
                return place.url
            stamp = self._signer.stamp(place.position, place.url, place.name, app=place.app)
            (url,) = tokens.clicks(f"{root}/{PATHS[Kind.CLICK]}/", [stamp], f"{root}/{APP_PATH}/")
            return url

        leave, choose = own(Kind.UNSUBSCRIBE), own(Kind.PREFERENCES)
        slots = {"unsubscribe": leave, "foreign": leave, "preferences": choose, "optout": choose}
        slots["online"] = f"{root}/{PATHS[Kind.ONLINE]}/{tokens.online()}"
        return Manner(pictures=lambda url: True, link=link, slots=slots)

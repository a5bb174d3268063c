"""Which bodies are kept, to be drawn again for a click map or for their reader.

A body is kept as its author wrote it, with placeholders for what is the recipient's own. A host that renders its
template for each recipient writes that recipient's data into the text, where nobody can tell them from the rest. So
there is a bound: of one campaign, each process keeps a few distinct bodies a day, and no more. Mail that is no
campaign, with neither tag nor list, is not kept; a body with a link that works once is not, either.
"""

from __future__ import annotations

import logging
import threading
import uuid
from base64 import b64encode
from collections import OrderedDict
from hashlib import blake2b

from flask_mailtrack.config import Settings
from flask_mailtrack.drawing import LONGEST, AuthoredBody, LinkPlace, SlotPlace
from flask_mailtrack.events import MailBody, now
from flask_mailtrack.privacy import clean
from flask_mailtrack.syntax import browser_url
from flask_mailtrack.tokens import Signer

from .bodies import Body
from .links import Policy
from .options import Tracking
from .placeholders import Placeholders, Slots
from .rewriting.rewrite import Template
from .rewriting.scan import scan

log: logging.Logger = logging.getLogger("flask_mailtrack.send")

OF_A_CAMPAIGN = 20
"""Distinct bodies that a process keeps of one campaign in a day: languages, variants, or samples."""
IN_A_DAY = 1_000
"""Distinct bodies that a process keeps in a day, whatever campaigns they are of."""
_REMEMBERED = 16


class Archive:
    """Chooses the bodies that are kept.

    :param placeholders: of the app.
    """

    def __init__(self, settings: Settings, signer: Signer, placeholders: Placeholders) -> None:
        self._on = settings.keep_bodies
        self._slots = Slots(placeholders, settings.foreign_placeholders, lambda slot: "")
        self._policy = Policy(settings, signer)
        self._lock = threading.Lock()
        self._day = now().date()
        self._chosen: dict[uuid.UUID, bool] = {}
        self._campaigns: dict[tuple[str, str], int] = {}
        self._records: OrderedDict[uuid.UUID, MailBody] = OrderedDict()

    def kept(self, choice: Tracking, subject: str, html: str | None, prepared: Body | None) -> MailBody | None:
        """Return the record of a body that is kept; the same body gives the same record for a day.

        :param html: as the author wrote it.
        :param prepared: the same, with the places of its tracked links.
        """
        campaign = bool(choice.tag or choice.list_id)
        if not (self._on and campaign and choice.store and not choice.transactional and html and prepared):
            return None
        if len(html) > LONGEST:
            return None
        try:
            return self._found(choice, subject, html, prepared)
        except Exception:
            log.exception("the body of a message is not kept")
            return None

    def _found(self, choice: Tracking, subject: str, html: str, prepared: Body) -> MailBody | None:
        # The places of its links are kept with it, so a body with other links is another body.
        tracked = repr((len(prepared.stamps), choice.utm if prepared.stamps else ()))
        written = "\0".join((choice.tag, subject, tracked, html)).encode("utf-8", "surrogatepass")
        key = uuid.UUID(bytes=blake2b(written, digest_size=16).digest(), version=5)
        if not self._choose(key, choice, html):
            return None
        with self._lock:
            known = self._records.get(key)
        if known is None:
            known = self._record(key, choice, subject, html, prepared)
            with self._lock:
                self._records[key] = known
                while len(self._records) > _REMEMBERED:
                    self._records.popitem(last=False)
        return known

    def _choose(self, key: uuid.UUID, choice: Tracking, html: str) -> bool:
        """Say whether a body is among those that are kept today."""
        campaign = choice.tag, choice.list_id
        with self._lock:
            if self._day != now().date():
                self._day = now().date()
                for memory in (self._chosen, self._campaigns, self._records):
                    memory.clear()
            if (known := self._chosen.get(key)) is not None:
                return known
            number = self._campaigns.get(campaign, 0)
            if number >= OF_A_CAMPAIGN or len(self._chosen) >= IN_A_DAY:
                return False
            self._campaigns[campaign] = number + 1
            self._chosen[key] = False
        secret = self._works_once(html)
        with self._lock:
            self._chosen[key] = not secret
        if number + 1 == OF_A_CAMPAIGN:
            text = (
                "%d distinct bodies of campaign %r are kept; others of this day are not. Render one for all recipients."
            )
            log.warning(text, OF_A_CAMPAIGN, choice.tag or choice.list_id)
        return not secret

    def _works_once(self, html: str) -> bool:
        """Say whether a link of the body is a secret of its recipient."""
        page = scan(html)
        hrefs = (browser_url(html[tag.href.value_start : tag.href.value_end]) for tag in page.tags if tag.href)
        return any(self._policy.refuse(url) == "one_time" for url in hrefs)

    def _record(self, key: uuid.UUID, choice: Tracking, subject: str, html: str, prepared: Body) -> MailBody:
        links: list[LinkPlace] = []
        if isinstance(prepared.template, Template):
            for place in prepared.template.places:
                target, stamp = prepared.targets[place.link], prepared.stamps[place.link]
                links.append(LinkPlace(place.offset, place.end, place.link, target.url, target.name, stamp.app))
        slots = tuple(SlotPlace(*slot[:3]) for slot in self._slots.in_html(html, choice.foreign) if slot.name)
        content = AuthoredBody(html, tuple(links), slots).packed()
        return MailBody(key, choice.tag, clean(subject, 998), now(), b64encode(content).decode())

"""Thirteen weeks of made-up mail and readers, always the same but for the day on which they end.

Only mails and readers are made up. Each mail is prepared by the code that prepares a real one, and what becomes of a
mail is written by the drain, as if a mail server and a browser had told. So the package itself makes all figures.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from flask_mailtrack.events import EVERYTHING, EventType, Hit, LinkTarget, MailBody, SentMessage, Status, Verdict

FIRST = "ada alan barbara chen donald edsger frances grace hedy ida john katherine leslie margaret niklaus"
LAST = "allen backus dijkstra hopper johnson knuth lamarr lamport liskov lovelace"
DOMAINS = tuple(f"example.{name}" for name in ["com", "com", "org", "com", "com", "net", "com", "org"])
"""Most read in webmail; those at ``.org`` behind Apple's proxy, those at ``.net`` behind a gateway of their company."""
WEEKS = 13
NEWS, SHOP, ORDERS = "hello@news.teashop.example", "hello@teashop.example", "orders@orders.teashop.example"

Record = SentMessage | Hit | LinkTarget | MailBody


class Campaign(NamedTuple):
    """One mail to everybody on a list, or to one person if there is no list."""

    tag: str
    subject: str
    sender: str
    list_id: str
    opens: float
    clicks: float
    """Of those who opened."""
    text: str
    links: tuple[tuple[str, str], ...]
    """Where a link leads in the shop, and what it says. The first ones are clicked most."""


class Prepared(NamedTuple):
    """A campaign as the package prepares it."""

    row: SentMessage
    """The row of somebody's copy."""
    links: Sequence[LinkTarget]
    """The tracked links, by their place in the mail."""
    common: Sequence[LinkTarget | MailBody]
    """What all copies share: the kept body, and the destinations of links."""


class Program(NamedTuple):
    """What fetches an image or follows a link, and what mailtrack makes of it."""

    user_agent: str
    verdict: Verdict = Verdict.HUMAN
    reason: str = "ua_browser"
    provider: str = ""


def _news(tag: str, subject: str, opens: float, clicks: float, text: str, *links: tuple[str, str]) -> Campaign:
    return Campaign(tag, subject, NEWS, "news", opens, clicks, text, (*links, ("visit-us", "Visit us")))


def _offer(tag: str, subject: str, opens: float, clicks: float, text: str, *links: tuple[str, str]) -> Campaign:
    return Campaign(tag, subject, SHOP, "offers", opens, clicks, text, (*links, ("outlet", "Everything in the outlet")))


CAMPAIGNS = (
    _news(
        "harvest-news", "The first harvest is in", 0.44, 0.34, "From the gardens.", ("first-harvest", "What we tasted")
    ),
    _offer("mug-offer", "Mugs, two for one", 0.38, 0.46, "Until Sunday.", ("mugs", "See the mugs")),
    _news("water-news", "Why water matters", 0.46, 0.36, "Two cheap cures.", ("water", "Read about water")),
    _offer("tin-offer", "Tins that keep tea fresh", 0.41, 0.42, "15 % off.", ("tins", "See the tins")),
    _news(
        "gaiwan-news", "The gaiwan in a minute", 0.49, 0.39, "A lid, a bowl, a saucer.", ("gaiwan", "How to hold it")
    ),
    _offer(
        "oolong-offer",
        "Oolong week",
        0.43,
        0.50,
        "Five kinds.",
        ("oolong", "See all five"),
        ("taster", "A small box of each"),
    ),
    _news("spring-news", "New this spring: white teas", 0.52, 0.42, "Pale and sweet.", ("white-tea", "White teas")),
    _offer("scale-offer", "A scale for the kitchen", 0.37, 0.38, "To a tenth of a gram.", ("scale", "See the scale")),
    _news("matcha-news", "Matcha without lumps", 0.54, 0.43, "Sieve first.", ("matcha", "The three steps")),
    _offer(
        "kettle-offer",
        "Kettles, 15 % off",
        0.44,
        0.54,
        "Copper or steel.",
        ("copper-kettle", "Copper"),
        ("steel-kettle", "Steel"),
    ),
    _news("visit-news", "Come and taste with us", 0.56, 0.40, "Every Friday.", ("tasting", "Take a seat")),
    _offer("assam-offer", "Strong tea for dark mornings", 0.48, 0.51, "Assam, 20 % off.", ("assam", "Try our Assam")),
    _news("summer-news", "Cold brew in five minutes", 0.59, 0.45, "Ten grams, a litre.", ("cold-brew", "The recipe")),
)
"""One a week, the oldest first."""
RECEIPT = Campaign(
    "receipt", "Your order is on its way", ORDERS, "", 0, 0.4, "It left us this morning.", (("parcel", "Where it is"),)
)
BROWSERS = (
    Program("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    Program("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/150.0.0.0 Safari/537.36"),
    Program("Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Version/19.1 Mobile/15E148 Safari/604.1"),
)
GMAIL = Program(
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    *(Verdict.PROXY, "ua_image_proxy", "google"),
)
APPLE = Program("Mozilla/5.0", Verdict.PROXY, "ua_apple_mpp", "apple")
GATEWAY = Program("Barracuda Sentinel", Verdict.SCANNER, "ua_security_scanner", "barracuda")
WHY = (
    ("too_often", ""),
    ("too_often", "Once a month would be plenty."),
    ("not_relevant", ""),
    ("not_relevant", "I only drink coffee now. Sorry!"),
    ("other", "The parcels never fit my letter box."),
    ("", ""),
)
"""Reasons for which people leave, with what they write."""

_DAYS = 7 * WEEKS - 7


class Story:
    """Each campaign goes to each customer; they and the machines react.

    :param prepare: prepares a campaign as a send would.
    :param refs: returns the reference of an address in links.
    :param moment: when the story ends.
    """

    def __init__(
        self, prepare: Callable[[Campaign], Prepared], refs: Callable[[str], Sequence[str]], moment: datetime
    ) -> None:
        self._random = random.Random(1847)
        self._prepare = prepare
        self._refs = refs
        self._moment = moment
        self._left: set[tuple[str, str]] = set()
        self._customers = [f"{first}.{last}" for last in LAST.split() for first in FIRST.split()]
        self._random.shuffle(self._customers)

    def records(self) -> Iterator[Record]:
        """Yield what the app would have written meanwhile."""
        for week, campaign in enumerate(CAMPAIGNS):
            prepared = self._prepare(campaign)
            at = self._moment - timedelta(days=3 + 7 * (WEEKS - 1 - week), hours=2)
            yield from _dated(prepared.common, at)
            batch = self._id(at)
            for number, name in enumerate(self._customers[: 60 + 5 * week]):  # the shop grows
                at += timedelta(seconds=0.4)
                yield from self._send(campaign, prepared, batch, f"{name}@{DOMAINS[number % len(DOMAINS)]}", at)
        yield from self._receipts()

    def _receipts(self) -> Iterator[Record]:
        prepared = self._prepare(RECEIPT)
        for day in range(_DAYS, 0, -3):
            at = self._moment - timedelta(days=day, hours=self._random.randrange(10))
            if day == _DAYS:
                yield from _dated(prepared.common, at)
            number = self._random.randrange(40)
            person = f"{self._customers[number]}@{DOMAINS[number % len(DOMAINS)]}"
            yield from self._send(RECEIPT, prepared, self._id(at), person, at)

    def _send(
        self, campaign: Campaign, prepared: Prepared, batch: uuid.UUID, recipient: str, at: datetime
    ) -> Iterator[Record]:
        row = prepared.row._replace(
            id=self._id(at),
            batch_id=batch,
            recipient=recipient,
            header_message_id=f"<{batch}@teashop.example>",
            created_at=at,
            sent_at=at,
            status=Status.SENT,
        )
        if self._left & {(recipient, campaign.list_id), (recipient, EVERYTHING)} and campaign.list_id:
            unsent = row._replace(status=Status.SUPPRESSED, sent_at=None, body_id=None, link_count=0)
            yield unsent._replace(tracks_opens=False, tracks_clicks=False)
        elif self._random.random() < 0.006:
            yield row._replace(status=Status.FAILED, sent_at=None, error="550 5.1.1 No such user here")
        else:
            yield row
            yield from self._react(campaign, prepared.links, row)

    def _react(self, campaign: Campaign, links: Sequence[LinkTarget], row: SentMessage) -> Iterator[Hit]:
        chance, at, domain = self._random.random, row.created_at, row.recipient.rpartition(".")[2]
        own = self._random.choice(BROWSERS)
        read = at + timedelta(minutes=2 + 2_000 * chance() ** 3)
        if domain == "net":  # a company with a gateway
            yield from self._opened(row, GATEWAY, at + timedelta(seconds=1))
            for place, link in enumerate(links):
                yield self._clicked(row, GATEWAY, at + timedelta(seconds=1.2 + place / 5), place, link)
        elif domain == "org":
            yield from self._opened(row, APPLE, at + timedelta(seconds=4 + 30 * chance()))
        if row.tracks_opens and chance() > campaign.opens:
            return
        if domain != "org":  # who reads behind Apple's proxy shows only in a click
            yield from self._opened(row, GMAIL if domain == "com" else own, read)
        if chance() < campaign.clicks:
            place = min(int(self._random.expovariate(1.4)), len(links) - 1)
            yield self._clicked(row, own, read + timedelta(seconds=5 + 60 * chance()), place, links[place])
        if campaign.list_id and chance() < 0.05:
            yield self._leave(row, own, read + timedelta(seconds=70))

    def _opened(self, row: SentMessage, program: Program, at: datetime) -> Iterator[Hit]:
        if row.tracks_opens:
            yield self._hit(row, program, at, EventType.OPENED)

    def _clicked(self, row: SentMessage, program: Program, at: datetime, place: int, link: LinkTarget) -> Hit:
        hit = self._hit(row, program, at, EventType.CLICKED)
        return hit._replace(url=link.url, link=place, link_name=link.name, part=link.part)

    def _leave(self, row: SentMessage, program: Program, at: datetime) -> Hit:
        reason, comment = self._random.choice(WHY)
        method, list_id = self._random.choice((("page", row.list_id), ("one_click", row.list_id), ("page", EVERYTHING)))
        self._left.add((row.recipient, list_id))
        if method == "one_click":  # a mail provider's button asks for no reason
            reason = comment = ""
        hit = self._hit(row, program, at, EventType.UNSUBSCRIBED)
        ref = self._refs(row.recipient)[0]
        return hit._replace(ref=ref, list_id=list_id, method=method, reason=reason, comment=comment)

    def _hit(self, row: SentMessage, program: Program, at: datetime, what: EventType) -> Hit:
        return Hit(
            id=self._id(at),
            message_id=row.id,
            type=what,
            occurred_at=at,
            user_agent=program.user_agent,
            verdict=program.verdict,
            verdict_reasons=(program.reason,),
            provider=program.provider,
            ip="" if program.verdict == Verdict.PROXY else f"198.51.{self._random.randrange(256)}.0",
        )

    def _id(self, at: datetime) -> uuid.UUID:
        """Return a UUIDv7 as old as *at*."""
        value = int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62
        return uuid.UUID(int=value | self._random.getrandbits(12) << 64 | self._random.getrandbits(62))


def _dated(common: Sequence[LinkTarget | MailBody], at: datetime) -> Iterator[LinkTarget | MailBody]:
    """Yield what copies share, as if they had been sent at that moment."""
    for record in common:
        yield record._replace(created_at=at) if isinstance(record, MailBody) else record

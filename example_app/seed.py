"""Four weeks of made-up mail, always the same but for the date it ends on."""

from __future__ import annotations

import random
import time
import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flask import Flask
from sqlalchemy import func, select

from flask_mailtrack.events import now
from flask_mailtrack.state import current_state
from flask_mailtrack.testing import Reader

from . import compose
from .models import db, mail, mailtrack

FIRST = "ada alan barbara chen donald edsger frances grace hedy ida john katherine leslie margaret niklaus"
LAST = "allen backus dijkstra hopper johnson knuth lamarr lamport liskov lovelace"
DOMAINS = ("example.com", "example.net", "example.org")


class Campaign(NamedTuple):
    """One sending to everybody."""

    tag: str
    subject: str
    list_id: str
    days_ago: int
    opens: float
    clicks: float
    """Of those who opened."""
    links: tuple[str, str]


class Program(NamedTuple):
    """What fetches an image or follows a link, and what mailtrack makes of it."""

    user_agent: str
    client: str
    os: str
    verdict: str = "human"
    reason: str = "ua_browser"
    provider: str = ""


CAMPAIGNS = (
    Campaign("spring-news", "New this spring: white teas", "news", 27, 0.44, 0.30, ("white-tea", "visit-us")),
    Campaign("kettle-offer", "Kettles, 15 % off", "offers", 13, 0.36, 0.42, ("copper-kettle", "outlet")),
    Campaign("summer-news", "Cold brew in five minutes", "news", 3, 0.51, 0.24, ("cold-brew", "visit-us")),
)
BROWSERS = (
    Program("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Linux"),
    Program("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/150.0.0.0 Safari/537.36", "Chrome", "Windows"),
    Program("Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Mobile/15E148 Safari/604.1", "Safari", "iOS"),
)
GMAIL = Program("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", "Gmail", "", "proxy", "ua_image_proxy", "google")
APPLE = Program("Mozilla/5.0", "", "", "proxy", "ua_apple_mpp", "apple")
GATEWAY = Program("Barracuda Sentinel", "", "", "scanner", "ua_security_scanner", "barracuda")


MAILS = (
    ("welcome", "", "annie.easley@example.com"),
    ("digest", "news", "mary.jackson@example.com"),
    ("offer", "offers", "dorothy.vaughan@example.com"),
)
"""What newcomers get: template, list, address."""


def send_some(app: Flask) -> None:
    """Send a few mails, so that the mailbox is not empty, and let their readers open some."""
    with app.test_request_context(), mail.record_messages() as outbox:
        for template, list_id, to in MAILS:
            compose.send(compose.Draft(to=to, list_id=list_id, template=template))
        time.sleep(app.config["MAILTRACK_THRESHOLDS"].get("instant", 0))  # who reads sooner is taken for a machine
        for _, _, to in MAILS[1:]:
            Reader.of(outbox, to).open()
        Reader.of(outbox, to).click("See the offer")


def seed(shop: str, moment: datetime | None = None) -> bool:
    """Fill the database, if no mail has ever been sent from it.

    :param shop: the address that the links lead to.
    :param moment: when the four weeks end; default: now.
    :return: whether it was filled.
    """
    if db.session.scalar(select(func.count()).select_from(mailtrack.models.Message)):
        return False
    db.session.add_all(_Story(shop, moment or now()).rows)
    db.session.commit()
    return True


class _Story:
    """Each campaign goes to each person; they and the machines react."""

    def __init__(self, shop: str, moment: datetime) -> None:
        self.random = random.Random(1847)
        self.shop = shop
        self.moment = moment
        self.rows: list[Any] = []
        self.left: set[tuple[str, str]] = set()
        self.refs = current_state().signer.recipient_refs
        for campaign in CAMPAIGNS:
            at = moment - timedelta(days=campaign.days_ago, hours=2)
            batch = self._id(at)
            for number, name in enumerate(f"{first}.{last}" for last in LAST.split() for first in FIRST.split()):
                at += timedelta(seconds=0.4)
                self._send(campaign, batch, f"{name}@{DOMAINS[number % 3]}", at)

    def _send(self, campaign: Campaign, batch: uuid.UUID, recipient: str, at: datetime) -> None:
        message = mailtrack.models.Message(
            id=self._id(at),
            batch_id=batch,
            recipient=recipient,
            sender="hello@teashop.example",
            subject=campaign.subject,
            header_message_id=f"<{batch}@teashop.example>",
            tag=campaign.tag,
            list_id=campaign.list_id,
            status="sent",
            created_at=at,
            sent_at=at,
            tracks_opens=True,
            tracks_clicks=True,
            open_count=0,
            click_count=0,
            machine_count=0,
        )
        self.rows.append(message)
        if (recipient, campaign.list_id) in self.left:
            message.status, message.sent_at, message.tracks_opens, message.tracks_clicks = (
                "suppressed",
                None,
                False,
                False,
            )
        elif self.random.random() < 0.015:
            message.status, message.sent_at, message.error = "failed", None, "550 5.1.1 No such user here"
        else:
            self._react(campaign, message)

    def _react(self, campaign: Campaign, message: Any) -> None:
        chance, at, domain = self.random.random, message.created_at, message.recipient.rpartition(".")[2]
        own = self.random.choice(BROWSERS)
        read = at + timedelta(minutes=2 + 2_000 * chance() ** 3)
        if domain == "net":  # a company with a gateway
            self._hit(message, GATEWAY, at + timedelta(seconds=1))
            for place, link in enumerate(campaign.links):
                self._hit(message, GATEWAY, at + timedelta(seconds=1.2 + place / 5), place, link)
        elif domain == "org":
            self._hit(message, APPLE, at + timedelta(seconds=4 + 30 * chance()))
        if chance() > campaign.opens:
            return
        if domain != "org":  # who reads behind Apple's proxy shows only in a click
            self._hit(message, GMAIL if domain == "com" else own, read)
        if chance() < campaign.clicks:
            place = self.random.choice((0, 0, 1))
            self._hit(message, own, read + timedelta(seconds=5 + 60 * chance()), place, campaign.links[place])
        if chance() < 0.06:
            self._leave(message, own, read + timedelta(seconds=70))

    def _hit(self, message: Any, program: Program, at: datetime, place: int | None = None, link: str = "") -> None:
        kind = "click" if link else "open"
        url = f"{self.shop}/shop/{link}" if link else ""
        self._event(message, program, at, type=f"{kind}ed", url=url, link=place, link_name=link)
        if program.verdict == "human" or program is GMAIL:
            setattr(message, f"{kind}_count", getattr(message, f"{kind}_count") + 1)
            setattr(message, f"{kind}ed_at", getattr(message, f"{kind}ed_at") or at)
        else:
            message.machine_count += 1

    def _leave(self, message: Any, program: Program, at: datetime) -> None:
        about = {"method": "page", "reason": self.random.choice(("too_often", "not_relevant"))}
        event = self._event(message, program, at, type="unsubscribed", list_id=message.list_id, **about)
        message.unsubscribed_at = at
        self.left.add((message.recipient, message.list_id))
        key = {"recipient": message.recipient, "list_id": message.list_id, "kind": "unsubscribe"}
        ref = self.refs(message.recipient)[0]
        self.rows.append(mailtrack.models.OptOut(**key, message_id=message.id, created_at=at, ref=ref, **about))
        proof = {"list_id": message.list_id, "method": "page", "source": f"message:{message.id}", "wording": ""}
        self.rows.append(mailtrack.models.Audit(id=event.id, ref=ref, change="unsubscribed", occurred_at=at, **proof))

    def _event(self, message: Any, program: Program, at: datetime, **about: Any) -> Any:
        row = mailtrack.models.Event(
            id=self._id(at),
            message_id=message.id,
            occurred_at=at,
            user_agent=program.user_agent,
            client=program.client,
            os=program.os,
            verdict=program.verdict,
            verdict_reasons=[program.reason],
            provider=program.provider,
            ip="" if program.verdict == "proxy" else f"198.51.{self.random.randrange(256)}.0",
            **about,
        )
        self.rows.append(row)
        return row

    def _id(self, at: datetime) -> uuid.UUID:
        """Return a UUIDv7 as old as *at*."""
        value = int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62
        return uuid.UUID(int=value | self.random.getrandbits(12) << 64 | self.random.getrandbits(62))

"""What the shop has when it opens: thirteen weeks of mail, some people it may not mail, a switch, and two domains.

Only this module and :mod:`.story` look behind the public names of the package. An app of yours has no need to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from flask import Flask, current_app, render_template
from flask_mail import Message
from sqlalchemy import func, select

from flask_mailtrack.administration.domain_check import DomainFinding, DomainStatus
from flask_mailtrack.events import LinkTarget, MailBody, now
from flask_mailtrack.phrases import Phrase, kept
from flask_mailtrack.state import current_state
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.testing import Reader

from . import compose
from .models import db, mail, mailtrack
from .story import ORDERS, Campaign, Prepared, Story

BATCH = 1_000
NOBODY_ASKED = "Made up for this example, which asks no name server."
MAILS = (
    ("welcome", "", "annie.easley@example.com"),
    ("digest", "news", "mary.jackson@example.com"),
    ("offer", "offers", "dorothy.vaughan@example.com"),
)
"""What newcomers get: template, list, address."""
BY = "Rosa, who answers the mail"
UNWANTED = (
    ("bounced.box@example.net", "", "bounce"),
    ("angry.customer@example.com", "", "complaint"),
    ("wholesale@example.org", "offers", "manual"),
)
"""Whom the shop keeps off its lists: address, list, reason."""


def send_some(app: Flask) -> None:
    """Send a few mails, so that the mailbox is not empty, and let their readers open some."""
    with app.test_request_context(), mail.record_messages() as outbox:
        for template, list_id, to in MAILS:
            compose.send(compose.Draft(to=to, list_id=list_id, template=template))
        time.sleep(app.config["MAILTRACK_THRESHOLDS"].get("instant", 0))  # who reads sooner is taken for a machine
        for _, _, to in MAILS[1:]:
            Reader.of(outbox, to).open()
        Reader.of(outbox, to).click("See the offer")


def seed(moment: datetime | None = None) -> bool:
    """Fill the database, if no mail has ever been sent from it.

    :param moment: when the thirteen weeks end; default: now.
    :return: whether it was filled.
    """
    if db.session.scalar(select(func.count()).select_from(mailtrack.models.Message)):
        return False
    db.session.rollback()
    end = moment or now()
    mailtrack.settings.set("opens", False, domain=ORDERS.rpartition("@")[2], by=BY)
    state = current_state()
    records = Story(_prepared, state.signer.recipient_refs, end).records()
    while bodies := [json.loads(json.dumps(to_json(record))) for record in islice(records, BATCH)]:
        state.drain.store(bodies, _refused)
    for address, list_id, reason in UNWANTED:
        mailtrack.suppress(address, list_id, reason=reason, by=BY)
    db.session.add_all(_domains(end))
    db.session.commit()
    return True


def _prepared(campaign: Campaign) -> Prepared:
    """Prepare the mail of a campaign as a send does: its links are tracked, and its body is kept."""
    html = render_template("mails/campaign.html", campaign=campaign, listed=campaign.list_id)
    message = Message(campaign.subject, ["customer@example.com"], html=html, sender=campaign.sender)
    mailtrack.track(message, tag=campaign.tag, list_id=campaign.list_id or None)
    mailing = current_state().office.preparer.prepare(message)
    common = [record for record in mailing.common if isinstance(record, LinkTarget | MailBody)]
    (row,) = next(mailing.copies).rows
    return Prepared(row, [record for record in common if isinstance(record, LinkTarget)], common)


def _refused(body: Mapping[str, Any], reason: str) -> None:
    raise RuntimeError(f"the example cannot be filled: {reason}")


def _made_up(text: Phrase) -> Phrase:
    return Phrase("%(what)s %(why)s", what=text, why=NOBODY_ASKED)


def _domains(end: datetime) -> list[Any]:
    """Return a tracking domain that works, and one whose record is wrong. No check of them is due for years."""
    good, bad, target = "links.news.teashop.example", "go.teashop.example", "mail.teashop.example"
    ends = end.date() + timedelta(days=80)
    named = {"host": bad, "name": "old-shop.example", "target": target}
    right = (
        DomainFinding("dns", "ok", Phrase("%(host)s is a CNAME to %(target)s.", host=good, target=target)),
        DomainFinding("tls", "ok", Phrase("The certificate of %(host)s is good until %(day)s.", host=good, day=ends)),
        DomainFinding("http", "ok", _made_up(Phrase("%(host)s reaches this app.", host=good))),
    )
    wrong = (
        DomainFinding(
            "dns",
            "error",
            _made_up(Phrase("%(host)s is a CNAME to %(name)s, not to %(target)s.", **named)),
            Phrase("Change the record to: %(record)s", record=f"{bad}. CNAME {target}."),
        ),
    )
    found = (
        (good, DomainStatus.VERIFIED, _made_up(Phrase("Every check passed.")), right, 40),
        (bad, DomainStatus.PENDING, wrong[0].text, wrong, 2),
    )
    return [
        mailtrack.models.Domain(
            host=host,
            sender_domains=[host.partition(".")[2]],
            account_default=False,
            target=current_app.config["MAILTRACK_CNAME_TARGET"],
            status=status.value,
            status_reason=kept(reason),
            status_since=end - timedelta(days=days),
            findings=[{name: kept(text) for name, text in asdict(finding).items()} for finding in findings],
            certificate_ends=end + timedelta(days=80) if status == DomainStatus.VERIFIED else None,
            checked_at=end,
            check_at=end + timedelta(days=3_650),
            created_by=BY,
            created_at=end - timedelta(days=days, hours=1),
        )
        for host, status, reason, findings, days in found
    ]

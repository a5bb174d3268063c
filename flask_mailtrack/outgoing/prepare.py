"""From one message to one copy per recipient, each copy with links of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any
from uuid import UUID

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import MailBody, SentCopy, SentMessage, Status, new_id, now
from flask_mailtrack.modes import Mode, counter_id, marked
from flask_mailtrack.privacy import clean
from flask_mailtrack.storage.tables.claims import Claims, Held
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.tokens import Signer

from . import headers, options, placeholders, text
from .archive import Archive
from .bodies import Bodies, Body, Plan, is_dead_end
from .delivery import Copy, Ledger, Letter, Mailing, Shared, compared
from .footer import Render, footer
from .headers import headers_for, take_switches
from .links import Links
from .operator import Operator
from .recipients import Recipient, held_for, recipients_of
from .text import is_sealed

log: logging.Logger = logging.getLogger("flask_mailtrack.send")


CLIPPED_FROM = 102_000
"""Characters of HTML that Gmail shows. Gmail cuts the rest, and with it a pixel at the bottom."""


class Preparer:
    """Turns messages into batches.

    :param optouts: knows the opt-outs.
    :param footer: renders the footer of a part; called once for each body, with a placeholder for the URL.
    :param ledger: keeps the destinations of links that do not carry them.
    :param operator: knows the switches of the operator, and the hosts for links.
    :param claims: holds who has got the mail of a send key.
    """

    def __init__(
        self,
        settings: Settings,
        signer: Signer,
        optouts: OptOuts,
        footer: Render,
        ledger: Ledger,
        operator: Operator,
        claims: Claims,
    ) -> None:
        self.operator = operator
        self.claims = claims
        self.settings = settings
        self.signer = signer
        self.optouts = optouts
        self.ledger = ledger
        self.footer = footer
        self.bodies: Bodies = Bodies(settings, signer)
        self.archive: Archive = Archive(settings, signer, self.bodies.placeholders)

    def prepare(self, letter: Letter) -> Mailing:
        """Return the copies of *letter*. The letter itself stays as it is.

        :raises OptOutsUnavailable: the letter names a list whose opt-outs cannot be read.
        :raises UnknownList: the letter names a list that is not in ``MAILTRACK_LISTS``.
        :raises UnknownTag: the tag is retired, or is not among the declared tags.
        :raises KeyNotClaimed: the send key of the letter cannot be claimed.
        """
        given = dict(letter.extra_headers or {})
        header = "; ".join(str(given.pop(name)) for name in list(given) if name.lower() == options.HEADER.lower())
        foreign = take_switches(given) if self.settings.foreign_headers else {}
        own: options.Options | None = getattr(letter, options.ATTRIBUTE, None)
        sender = compared(letter.sender)
        decided = self.operator.decisions(sender)
        choice = options.choose(self.settings, sender.rpartition("@")[2], header, own, foreign, decided)
        self.operator.check_tag(choice.tag)
        choice = replace(choice, base_url=self.operator.base_url(sender))
        given |= headers_for(self.settings.downstream, given)
        return _Work(self, letter, choice, sender, given).batch()


class _Work:
    """One send call."""

    def __init__(
        self, preparer: Preparer, letter: Letter, choice: options.Tracking, sender: str, given: dict[str, str]
    ) -> None:
        self._preparer = preparer
        self._settings = preparer.settings
        self._letter = letter
        self._choice = choice
        self._given = given
        self._sender = sender
        self._html: Body | None = None
        self._text: Body | None = None
        self._others: dict[str, Body] = {}
        """The other alternatives, by subtype."""
        self._footers: dict[str, text.AsWritten | None] = {}
        """The footers, by part. Each is rendered once."""
        self._unread = _unread(letter, choice)
        self._failures: list[RewriteError] = list(self._unread.values())
        self._broken = False
        self._held = Held()
        self._counter = _counter(choice, sender) if choice.mode == Mode.AGGREGATE else None
        self._is_told = choice.store and self._settings.downstream in self._settings.services
        """Whether the service that relays the mail tells what becomes of each copy."""
        self._same_in_each_row: dict[str, Any] = {
            "batch_id": new_id(),
            "sender": clean(sender, 320),
            "subject": clean(str(letter.subject or ""), 998),
            "header_message_id": clean(str(letter.msgId or ""), 998),
            "tag": choice.tag,
            "list_id": choice.list_id,
            "details": choice.metadata,
            "columns": choice.columns,
            "mode": choice.mode,
        }

    def batch(self) -> Mailing:
        personal = self._compiled()
        everybody = recipients_of(self._letter, self._choice, self._preparer.optouts, self._way_out)
        # As late as can be: what fails before has claimed nothing.
        self._held, repeated = held_for(self._preparer.claims, self._choice, everybody, self._named)
        try:
            return self._mailing([r for r in everybody if self._held.has(r.address)], personal, repeated)
        except BaseException:
            self._held.close()
            raise

    def _mailing(self, recipients: list[Recipient], personal: bool, repeated: list[SentCopy]) -> Mailing:
        gone = [r for r in recipients if r.gone]
        wanted = [r for r in recipients if not r.gone]
        self._held.tell([r.address for r in gone], Status.SUPPRESSED)
        suppressed = [self._row(r, status=Status.SUPPRESSED) for r in gone]
        if not self._choice.store:  # they are told of, and not written down
            repeated = [*repeated, *(SentCopy(row.id, row.recipient, row.status) for row in suppressed)]
            suppressed = []
        kept = self._kept()
        copies = self._copies(self._envelopes(wanted, personal))
        # An error in the first copy would be in all copies, so the first copy is made before anything is sent.
        first = list(islice(copies, 1))
        bodies = [body for body in (self._html, self._text) if body]
        common: list[Shared] = [*([kept] if kept else []), *(target for body in bodies for target in body.targets)]
        if self._counter and any(body.pixel or body.stamps for body in bodies):
            common.append(self._counter)
        return Mailing(chain(first, copies), suppressed, tuple(common), self._failures, self._held, repeated)

    def _kept(self) -> MailBody | None:
        """Return the body that the rows point to from now on, and warn of a link to a body that is not kept."""
        kept = self._preparer.archive.kept(
            self._choice, self._same_in_each_row["subject"], self._letter.html, None if self._broken else self._html
        )
        self._same_in_each_row["body_id"] = kept.id if kept else None
        if not kept and any("online" in body.found for body in self._bodies):
            log.warning("view_online_url() shows nothing in %r: its body is not kept", self._letter.subject)
        return kept

    def _compiled(self) -> bool:
        """Prepare the bodies, and say whether anything in them is personal."""
        try:
            self._compile()
        except Exception as error:
            self._give_up(error)
        else:
            self._warn()
        return self._broken or any(body.found & placeholders.PERSONAL for body in self._bodies)

    def _envelopes(self, wanted: list[Recipient], personal: bool) -> list[tuple[Recipient, ...]]:
        # A copy for several people must not hold a link or a pixel of one of them.
        seen = self._settings.split or self._choice.mode == Mode.DELIVERABILITY
        measured = seen and self._is_measured and not all(r.silent for r in wanted)
        told = self._settings.split and self._is_told
        if personal or self._choice.unsubscribe or measured or told:
            return [(recipient,) for recipient in wanted]
        return [tuple(wanted)] if wanted else []

    @property
    def _is_measured(self) -> bool:
        """Whether the mail has a pixel or a tracked link."""
        return any((body.pixel and self._choice.opens) or body.stamps for body in self._bodies)

    def _compile(self) -> None:
        letter, bodies = self._letter, self._preparer.bodies
        others = {kind: part for kind, part in letter.alts.items() if kind != "html" and isinstance(part, str)}
        every = Plan.of(self._choice, letter.charset)
        # Without its row a link by reference would lead nowhere, so the author's link stays.
        for plan in (every, replace(every, references=False)):
            self._html = None if letter.html is None else bodies.html(letter.html, plan)
            self._text = bodies.text(letter.body, plan) if letter.body and not is_sealed(letter.body) else None
            self._others = {kind: bodies.alternative(kind, part, plan) for kind, part in others.items()}
            referred = [link for body in self._bodies for link in body.referred]
            if not referred or self._preparer.ledger.keep(referred):
                break
        if self._html and self._html.failure:
            self._failures.append(self._html.failure)

    @property
    def _bodies(self) -> list[Body]:
        return [body for body in (self._html, self._text, *self._others.values()) if body]

    @property
    def _way_out(self) -> bool:
        """Whether the mail carries a way out: a link that a reader can follow, or a header.

        The opt-outs are asked for such mail. Transactional mail goes out in any case.
        """
        if self._choice.unsubscribe or self._choice.transactional:
            return self._choice.unsubscribe
        header = any(name.lower() == headers.LIST_UNSUBSCRIBE.lower() for name in self._given)
        return header or any(body.leads_out for body in self._bodies)

    def _warn(self) -> None:
        """Log placeholders that stay, and list mail without a way out."""
        if staying := dict.fromkeys(said for body in self._bodies for said in body.staying):
            log.warning("placeholders stay as they are in %r: %s", self._letter.subject, ", ".join(staying))
        if is_dead_end(self._choice, self._settings, self._bodies):
            log.warning("mail of list %r has no link to leave it: %r", self._choice.list_id, self._letter.subject)

    def _copies(self, envelopes: list[tuple[Recipient, ...]]) -> Iterator[Copy]:
        for envelope in envelopes:
            try:
                made = [] if self._broken else [self._copy(envelope)]
            except Exception as error:
                self._give_up(error)
                made = []
            for copy in made or map(self._plain, envelope):
                yield copy if self._choice.store else replace(copy, rows=())

    def _give_up(self, error: Exception) -> None:
        log.exception("a message goes out untracked")
        self._html = self._text = None
        self._broken = True
        self._failures.append(RewriteError("prepare", repr(error)))

    def _plain(self, recipient: Recipient) -> Copy:
        """Return the copy after a failure: the author's mail, with a way to leave, to nobody who has left."""
        row = self._row(recipient, error="untracked: prepare")
        links, letter = self._links(row, recipient), self._letter
        html, body = letter.html, letter.body
        try:
            bodies, plan = self._preparer.bodies, Plan(opens=False, clicks=False, foreign=self._choice.foreign, utm=())
            html = html and self._filled(bodies.as_written(html, plan), links)
            body = body if not body or is_sealed(body) else self._filled(bodies.text(body, plan), links)
        except Exception:
            log.exception("the placeholders of a message stay as they are")
        said = self._choice.encoding
        return Copy((recipient.written,), (row,), html, body, dict(letter.alts), self._headers(links, True), said)

    def _filled(self, body: Body, links: Links) -> str:
        return body.render(links, False, self._fill(body.found, links))

    def _copy(self, envelope: tuple[Recipient, ...]) -> Copy:
        tracked = not any(r.silent for r in envelope)
        decided = self._preparer.operator.decisions(self._sender)
        opens, clicks = (tracked and decided.get(key, True) for key in ("opens", "clicks"))
        rows = tuple(self._row(r, opens, clicks, shared=len(envelope) > 1) for r in envelope)
        links = self._links(rows[0], envelope[0])
        html = self._written_html(links, rows[0], clicks)
        if rows[0].tracks_opens and not self._failures:
            self._failures += self._clipped(len(html or ""))
        return Copy(
            recipients=tuple(r.written for r in envelope),
            rows=rows,
            html=html,
            body=self._written_text(links, clicks),
            alts=self._alts(links),
            extra_headers=self._headers(links, len(rows) == 1),
            encoding=self._choice.encoding,
        )

    def _clipped(self, length: int) -> list[RewriteError]:
        """Return a warning if Gmail cuts the mail before its end, and with it the pixel at the bottom."""
        if self._settings.pixel != "bottom" or length <= CLIPPED_FROM:
            return []
        return [RewriteError("clipped", f"{length} characters of HTML, Gmail shows {CLIPPED_FROM}")]

    def _headers(self, links: Links, alone: bool) -> dict[str, str]:
        named = headers.naming(self._settings.downstream, links.copy(), self._given) if self._is_told and alone else {}
        given = {**self._given, **named}
        if not self._choice.unsubscribe:
            return given
        domain, mailbox = self._sender.rpartition("@")[2], self._settings.unsubscribe_mailto
        mailto = links.unsubscribe_mailto(mailbox) if mailbox else ""
        return headers.for_list(links.unsubscribe(), self._choice.list_name, domain, given, mailto)

    def _alts(self, links: Links) -> dict[str, str]:
        """Return the other alternatives, such as an AMP part: as written, except placeholders and footer."""
        filled = dict(self._letter.alts)
        for kind, body in self._others.items():
            fill = self._fill(body.found, links)
            if body.takes_footer:
                fill["end"] = self._footer(body, links, "html")
            filled[kind] = body.render(links, False, fill)
        return filled

    def _row(
        self,
        recipient: Recipient,
        opens: bool = False,
        clicks: bool = False,
        status: Status = Status.SENDING,
        shared: bool = False,
        error: str = "",
    ) -> SentMessage:
        failure = self._html.failure if self._html else self._unread.get("html")
        links = max((len(body.stamps) for body in (self._html, self._text) if body), default=0) if clicks else 0
        return SentMessage(
            id=self._named(self._held.id_for(recipient.address)),
            recipient=clean(recipient.address, 320),
            created_at=now(),
            status=status,
            error=f"untracked: {failure.reason}" if failure else error,
            tracks_opens=opens and self._choice.opens and bool(self._html and self._html.pixel),
            tracks_clicks=links > 0,
            link_count=links,
            shared=shared,
            **self._same_in_each_row,
        )

    def _named(self, identifier: UUID) -> UUID:
        """Return the id of a row, which names the mode unless the copies are counted together."""
        return identifier if self._counter else marked(identifier, self._choice.mode)

    def _links(self, row: SentMessage, recipient: Recipient) -> Links:
        root = self._preparer.operator.base_url(self._sender) + self._settings.url_prefix
        signer = self._preparer.signer
        measured = signer.message(self._counter.id) if self._counter else None
        return Links(root, signer.message(row.id), signer.recipient_refs(recipient.address)[0], measured)

    def _written_html(self, links: Links, row: SentMessage, tracked: bool) -> str | None:
        if self._html is None:
            return None
        fill = self._fill(self._html.found, links)
        pixel = links.pixel() if row.tracks_opens else ""
        fill["pixel"] = pixel
        at = self._settings.pixel if self._html.starts else "bottom"
        at = at if self._html.ends else "top"
        at = "" if "pixel" in self._html.found else at
        fill["start"] = pixel if at in ("top", "both") else ""
        fill["end"] = self._footer(self._html, links, "html") + (pixel if at in ("bottom", "both") else "")
        judged = self._choice.mode == Mode.INDIVIDUAL  # only there are verdicts corrected by later hits
        if self._settings.honeypot and judged and tracked and self._html.stamps:
            fill["end"] += links.honeypot()
        return self._html.render(links, tracked, fill)

    def _written_text(self, links: Links, tracked: bool) -> str | None:
        if self._text is None:
            return self._letter.body
        written = self._text.render(links, tracked, self._fill(self._text.found, links))
        return text.with_footer(written, self._footer(self._text, links, "txt"))

    def _fill(self, found: frozenset[str], links: Links) -> dict[str, str]:
        """Return the values of the placeholders in a part. Most parts have none."""
        return {slot: links.personal(slot) for slot in found & placeholders.PERSONAL}

    def _footer(self, body: Body, links: Links, part: str) -> str:
        if not self._choice.unsubscribe or not self._settings.footer or body.leads_out:
            return ""
        if part not in self._footers:
            placeholder = self._preparer.bodies.placeholders.urls["unsubscribe"]
            written = footer(self._preparer.footer, self._letter, part, placeholder)
            self._footers[part] = self._preparer.bodies.footer(written, part)
        waiting = self._footers[part]
        if waiting is None:  # the host's template changes the URL, so the footer is rendered for each copy
            return footer(self._preparer.footer, self._letter, part, links.unsubscribe())
        return waiting.render(None, self._fill(waiting.names, links))


def _unread(letter: Letter, choice: options.Tracking) -> dict[str, RewriteError]:
    """Return the parts that cannot be read, if anything is wanted of them. They go out as they are."""
    wanted = choice.opens or choice.clicks or choice.unsubscribe
    found: Mapping[str, str] = getattr(letter, "unread", {}) if wanted else {}
    return {kind: RewriteError("unreadable", f"text/{kind}: {why}") for kind, why in found.items()}


def _counter(choice: options.Tracking, sender: str) -> SentMessage:
    """Return the row that counts the mails of one campaign and day together.

    The row names nothing that may differ from copy to copy: no subject, no sender's mailbox, no batch.
    """
    moment = now()
    key = counter_id(moment.date(), sender.rpartition("@")[2], choice.tag, choice.list_id)
    return SentMessage(
        *(key, key, "", "", "", "", moment, Status.COUNTER, choice.tag, choice.list_id),
        shared=True,
        mode=choice.mode,
    )

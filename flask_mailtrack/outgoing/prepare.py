"""From one message to one copy per recipient, each with links of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, OptOutKind, SentMessage, Status, new_id, now
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.tokens import Signer

from . import headers, options, placeholders, services, text
from .bodies import Bodies, Body, Plan
from .links import Links
from .text import is_sealed

log = logging.getLogger("flask_mailtrack.send")


Address = str | tuple[str, str]


class OptOuts(Protocol):
    """What is asked before a send; both may raise ``OptOutsUnavailable``."""

    def among(self, addresses: Collection[str], list_id: str) -> Mapping[str, set[OptOutKind]]:
        """Return what each address has refused of a list."""

    def silent(self, addresses: Collection[str]) -> Mapping[str, set[OptOutKind]]:
        """Return who does not want to be measured."""


class Letter(Protocol):
    """What is read of a Flask-Mail message."""

    subject: str
    sender: Any
    recipients: list[Address]
    cc: list[Address]
    bcc: list[Address]
    body: str | None
    html: str | None
    extra_headers: dict[str, str] | None
    msgId: str  # noqa: N815 - Flask-Mail's name


@dataclass(frozen=True, slots=True)
class Copy:
    """What one envelope carries.

    ``rows`` are the message rows of the recipients in the envelope: one, unless splitting is off.
    """

    recipients: tuple[Address, ...]
    rows: tuple[SentMessage, ...]
    html: str | None
    body: str | None
    extra_headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one send call leads to."""

    copies: list[Copy]
    suppressed: list[SentMessage]
    targets: tuple[LinkTarget, ...]
    failure: RewriteError | None
    """Why the HTML went out as the author wrote it, if it did; or that its end will not be seen."""


class Preparer:
    """Turns messages into batches.

    :param optouts: who has refused what.
    :param footer: renders the footer of a part (``html`` or ``txt``) around an unsubscribe URL.
    """

    def __init__(self, settings: Settings, signer: Signer, optouts: OptOuts, footer: Callable[[str, str], str]) -> None:
        self.settings = settings
        self.signer = signer
        self.optouts = optouts
        self.footer = footer
        self.bodies = Bodies(settings, signer)

    def prepare(self, letter: Letter) -> Batch:
        """Return the copies of *letter*, which itself stays as it is.

        :raises OptOutsUnavailable: it names a list whose opt-outs cannot be read.
        """
        given = dict(letter.extra_headers or {})
        header = "; ".join(given.pop(name) for name in list(given) if name.lower() == options.HEADER.lower())
        foreign = services.take_switches(given) if self.settings.foreign_headers else {}
        own: options.Options | None = getattr(letter, options.ATTRIBUTE, None)
        sender = normalise(_flat(letter.sender))
        choice = options.choose(self.settings, sender.rpartition("@")[2], header, own, foreign)
        given |= services.headers_for(self.settings.downstream, given)
        return _Work(self, letter, choice, sender, given).batch()


@dataclass(frozen=True, slots=True)
class _Recipient:
    """One address as the author wrote it, and as it is compared."""

    written: Address
    address: str
    refused: frozenset[OptOutKind] = frozenset()

    @property
    def silent(self) -> bool:
        return OptOutKind.TRACKING in self.refused

    @property
    def gone(self) -> bool:
        return OptOutKind.UNSUBSCRIBE in self.refused


class _Work:
    """One send call."""

    def __init__(
        self, preparer: Preparer, letter: Letter, choice: options.Choice, sender: str, given: dict[str, str]
    ) -> None:
        self._preparer = preparer
        self._settings = preparer.settings
        self._letter = letter
        self._choice = choice
        self._given = given
        self._sender = sender
        self._batch_id = new_id()
        self._html: Body | None = None
        self._text: Body | None = None

    def batch(self) -> Batch:
        recipients = self._recipients()
        gone = [r for r in recipients if self._choice.unsubscribe and r.gone]
        wanted = [r for r in recipients if not (self._choice.unsubscribe and r.gone)]
        together = not self._settings.split and not self._choice.unsubscribe and len(wanted) > 1
        envelopes: list[tuple[_Recipient, ...]] = [tuple(wanted)] if together else [(r,) for r in wanted]
        suppressed = [self._row(r, status=Status.SUPPRESSED) for r in gone]
        try:
            copies = self._copies(envelopes)
        except Exception as error:
            log.exception("a message goes out untracked")
            self._html = self._text = None
            copies = [self._plain(envelope) for envelope in envelopes]
            return Batch(copies, suppressed, (), RewriteError("prepare", repr(error)))
        bodies = [body for body in (self._html, self._text) if body]
        targets = tuple(target for body in bodies for target in body.targets)
        return Batch(copies, suppressed, targets, (self._html and self._html.failure) or self._clipped(copies))

    def _copies(self, envelopes: list[tuple[_Recipient, ...]]) -> list[Copy]:
        letter, bodies, plan = self._letter, self._preparer.bodies, Plan.of(self._choice, self._settings)
        self._html = None if letter.html is None else bodies.html(letter.html, plan)
        self._text = bodies.text(letter.body, plan) if letter.body and not is_sealed(letter.body) else None
        return [self._copy(envelope) for envelope in envelopes]

    def _plain(self, envelope: tuple[_Recipient, ...]) -> Copy:
        """What is sent when we have failed: the author's mail, but still to nobody who has left the list."""
        rows = tuple(self._row(r, shared=len(envelope) > 1, error="untracked: prepare") for r in envelope)
        written = tuple(r.written for r in envelope)
        return Copy(written, rows, self._letter.html, self._letter.body, dict(self._given))

    def _clipped(self, copies: list[Copy]) -> RewriteError | None:
        """Say that Gmail will cut the mail before its end, and with it the pixel at the bottom."""
        limit = self._settings.clip_bytes
        longest = max((len(copy.html or "") for copy in copies if copy.rows[0].opens), default=0)
        if self._settings.pixel != "bottom" or not 0 < limit < longest:
            return None
        return RewriteError("clipped", f"{longest} characters of HTML, Gmail shows {limit}")

    def _recipients(self) -> list[_Recipient]:
        written = dict.fromkeys([*self._letter.recipients, *self._letter.cc, *self._letter.bcc])
        found = [(w, normalise(_flat(w))) for w in written]
        refused = self._refused([address for _, address in found])
        return [_Recipient(w, address, frozenset(refused.get(address, ()))) for w, address in found]

    def _refused(self, addresses: list[str]) -> Mapping[str, set[OptOutKind]]:
        if self._choice.unsubscribe:
            return self._preparer.optouts.among(addresses, self._choice.list_id)
        if not self._choice.opens and not self._choice.clicks:
            return {}
        try:
            return self._preparer.optouts.silent(addresses)
        except Exception:
            # Nobody may be recorded who perhaps does not want it; the mail itself must go out.
            log.warning("tracking opt-outs cannot be read: the message goes out untracked", exc_info=True)
            return {address: {OptOutKind.TRACKING} for address in addresses}

    def _copy(self, envelope: tuple[_Recipient, ...]) -> Copy:
        tracked = not any(r.silent for r in envelope)
        rows = tuple(self._row(r, tracked=tracked, shared=len(envelope) > 1) for r in envelope)
        links = self._links(rows[0], envelope[0])
        extra = dict(self._given)
        if self._choice.unsubscribe:
            domain = self._sender.rpartition("@")[2]
            extra |= headers.for_list(links.unsubscribe(), self._choice.list_id, domain, self._given)
        return Copy(
            recipients=tuple(r.written for r in envelope),
            rows=rows,
            html=self._written_html(links, rows[0], tracked),
            body=self._written_text(links, tracked),
            extra_headers=extra,
        )

    def _row(
        self,
        recipient: _Recipient,
        tracked: bool = False,
        status: Status = Status.SENDING,
        shared: bool = False,
        error: str = "",
    ) -> SentMessage:
        failure = self._html.failure if self._html else None
        stamped = bool((self._html and self._html.stamps) or (self._text and self._text.stamps))
        return SentMessage(
            id=new_id(),
            batch_id=self._batch_id,
            recipient=clean(recipient.address, 320),
            sender=clean(self._sender, 320),
            subject=clean(str(self._letter.subject or ""), 998),
            message_id=clean(str(self._letter.msgId or ""), 998),
            created_at=now(),
            status=status,
            tag=self._choice.tag,
            list_id=self._choice.list_id,
            meta=self._choice.metadata,
            error=f"untracked: {failure.reason}" if failure else error,
            opens=tracked and self._choice.opens and bool(self._html and self._html.pixel),
            clicks=tracked and stamped,
            shared=shared,
        )

    def _links(self, row: SentMessage, recipient: _Recipient) -> Links:
        root = self._choice.base_url + self._settings.url_prefix
        signer = self._preparer.signer
        return Links(root, signer.message(row.id), signer.recipient_refs(recipient.address)[0])

    def _written_html(self, links: Links, row: SentMessage, tracked: bool) -> str | None:
        if self._html is None:
            return None
        fill = self._fill(self._html.found, links)
        pixel = links.pixel() if row.opens else ""
        fill["pixel"] = pixel
        at = self._settings.pixel if self._html.starts else "bottom"
        at = "" if "pixel" in self._html.found else at
        fill["start"] = pixel if at in ("top", "both") else ""
        fill["end"] = self._footer(self._html.found, links, "html") + (pixel if at in ("bottom", "both") else "")
        return self._html.render(links, tracked, fill)

    def _written_text(self, links: Links, tracked: bool) -> str | None:
        if self._text is None:
            return self._letter.body
        written = self._text.render(links, tracked, self._fill(self._text.found, links))
        return text.with_footer(written, self._footer(self._text.found, links, "txt"))

    def _fill(self, found: frozenset[str], links: Links) -> dict[str, str]:
        """Return what the placeholders in a part stand for; most parts have none."""
        urls = {name: links.preferences() for name in ("preferences", "optout") if name in found}
        return urls | {name: links.unsubscribe() for name in ("unsubscribe", "foreign") if name in found}

    def _footer(self, found: frozenset[str], links: Links, part: str) -> str:
        if not self._choice.unsubscribe or not self._settings.footer or found & placeholders.LEADS_OUT:
            return ""
        return self._preparer.footer(part, links.unsubscribe())


def _flat(address: Address) -> str:
    return f"{address[0]} <{address[1]}>" if isinstance(address, tuple) else str(address or "")

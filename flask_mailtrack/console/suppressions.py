"""Addresses that get no mail: found, added, removed and taken along."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import OptOutKind
from flask_mailtrack.notified import BOUNCE, COMPLAINT
from flask_mailtrack.privacy import normalise
from flask_mailtrack.reporting.exports import every
from flask_mailtrack.reporting.messages import StandingRefusal

from . import imports
from .desk import Desk
from .preferences import WAYS
from .route import Route

REASONS = {"by_hand": "By hand", COMPLAINT: "Complaint", BOUNCE: "Bounce", "import": "Import"}
GONE = "Nothing of this kind stands against that address."
_LONGEST = 320
_LONGEST_NOTE = 200
_HEADER = ("email", "list_id", "kind", "method", "reason", "created", "by")


def suppressions(desk: Desk) -> ResponseReturnValue:
    """Show what stands against mail, newest first."""
    return _list(desk)


def suppressions_search(desk: Desk) -> ResponseReturnValue:
    """Lead to what stands against one address, which becomes the id of a row: no log shall have it."""
    wanted = request.form.get("q", "").strip()[:_LONGEST]
    reason = {"reason": request.form["reason"]} if request.form.get("reason") in REASONS else {}
    if not wanted:
        return desk.back("suppressions", **reason)
    handle = desk.reports.handle_of(wanted)
    return _list(desk, unknown=True) if handle is None else desk.back("suppressions", person=handle, **reason)


def suppression_add(desk: Desk) -> ResponseReturnValue:
    """Stop all mail to an address."""
    _all_mail(desk)
    said = {name: request.form.get(name, "").strip()[:_LONGEST] for name in ("address", "reason", "note")}
    reason = said["reason"] if said["reason"] in REASONS else "by_hand"
    if _standing(desk, said["address"], ""):
        return desk.back("suppressions", "suppression_stood")
    try:
        desk.change(said["address"], out=True, reason=reason, note=said["note"][:_LONGEST_NOTE])
    except ValueError:
        return _list(desk, said=said, status=400)
    desk.settle()
    return desk.back("suppressions", "suppression_added")


def suppression_remove(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Ask once more, with the address and a note, and let mail go out again."""
    _all_mail(desk)
    address, list_id = desk.reports.address_of(key), request.values.get("list", "")[:255]
    stands = _standing(desk, address, list_id) if address else None
    if not address or stands is None:
        desk.missing(GONE)
    typed, note = request.form.get("address", "")[:_LONGEST], request.form.get("note", "").strip()[:_LONGEST_NOTE]
    locked, sent = stands.reason == COMPLAINT, request.method == "POST"
    right = normalise(typed) == address
    if sent and right and note and not locked:
        desk.change(address, out=False, list_id=list_id, note=note)
        desk.settle()
        return desk.back("suppressions", "suppression_removed")
    return desk.page(
        "remove.html",
        status=400 if sent else 200,
        key=key,
        address=address,
        stands=stands,
        locked=locked,
        typed=typed,
        note=note,
        wrong=sent and not right,
        unsaid=sent and not note,
        reasons=REASONS,
        ways=WAYS,
    )


def _list(
    desk: Desk, *, unknown: bool = False, said: dict[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    reason, page = request.args.get("reason", ""), request.args.get("page", "")
    address = _address(desk)
    reason = reason if reason in REASONS else ""
    if desk.wants_csv:
        return desk.csv("suppressions", _HEADER, _rows(desk, address, reason))
    return desk.page(
        "suppressions.html",
        status=status,
        found=desk.reports.suppressions(search=address, reason=reason, page=page),
        page=page,
        reason=reason,
        address=address,
        reasons=REASONS,
        ways=WAYS,
        unknown=unknown,
        said=said or {},
        invalid=said is not None,
    )


def _address(desk: Desk) -> str:
    person = request.args.get("person", "")
    if not person:
        return ""
    try:
        return desk.reports.address_of(person) or desk.missing(GONE)
    except ReportError:
        desk.missing(GONE)


def _rows(desk: Desk, address: str, reason: str) -> Iterator[Sequence[Any]]:
    for row in every(partial(desk.reports.suppressions, search=address, reason=reason)):
        shown = desk.plain_address(row.address) if row.address else ""
        yield shown, row.list_id, row.kind, row.method, row.reason, row.created_at, desk.text(row.actor)


def _standing(desk: Desk, address: str, list_id: str) -> StandingRefusal | None:
    wanted = (list_id, OptOutKind.UNSUBSCRIBE)
    standing = desk.reports.person(address, size=1).standing
    return next((each for each in standing if (each.list_id, each.kind) == wanted), None)


def _all_mail(desk: Desk) -> None:
    """Answer 404 to a tenant: what stops all mail to somebody stops that of others, too."""
    if desk.scope is not None:
        desk.missing(GONE)


ROUTES = (
    Route("/suppressions", "suppressions", "view", suppressions),
    Route("/suppressions/search", "suppressions_search", "view", suppressions_search, ("POST",)),
    Route("/suppressions/add", "suppressions_add", "manage", suppression_add, ("POST",)),
    *imports.ROUTES,
    Route("/suppressions/<uuid:key>/remove", "suppressions_remove", "manage", suppression_remove),
    Route("/suppressions/<uuid:key>/remove", "suppressions_lift", "manage", suppression_remove, ("POST",)),
)

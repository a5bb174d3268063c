"""People: found by a form, shown by the id of a row, so that no address stands in the address of a page."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.events import OptOutKind
from flask_mailtrack.privacy import normalise
from flask_mailtrack.reporting.exports import plain
from flask_mailtrack.reporting.messages import Person

from .desk import Desk
from .outcomes import outcome
from .preferences import WHY, changed, choices_of, log_of
from .route import Route

GONE = "There is nobody of this kind, or they were erased."
_LONGEST = 320
EVERYTHING = ("", OptOutKind.UNSUBSCRIBE)


def people(desk: Desk) -> ResponseReturnValue:
    """Show the form that finds a person."""
    return desk.page("people.html", unknown=False)


def people_search(desk: Desk) -> ResponseReturnValue:
    """Lead to the page of a person."""
    handle = desk.reports.handle_of(request.form.get("q", "").strip()[:_LONGEST])
    return desk.page("people.html", unknown=True) if handle is None else desk.back("person", key=handle)


def person(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Show what somebody got and did, what stands against mail to them, and what they have said."""
    address = _address(desk, key)
    log = log_of(desk, address)  # first, since this drains
    page = request.args.get("page", "")
    found = desk.reports.person(address, page=page)
    return desk.page(
        "person.html",
        key=key,
        person=found,
        stopped=_stopped(found),
        choices=choices_of(desk, found),
        log=log,
        reasons=WHY,
        page=page,
        outcomes={row.id: outcome(row, _declined(found)) for row in found.page.rows},
    )


def person_choices(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Change what somebody gets, where the form says something else than when it was shown."""
    address = _address(desk, key)
    found = desk.reports.person(address)
    for choice, on in changed(choices_of(desk, found), request.form):
        desk.change(address, out=not on, list_id=choice.list_id, kind=choice.kind)
    desk.settle()
    return desk.back("person", "person_changed", key=key)


def person_stop(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Stop all mail to somebody."""
    if desk.scope is not None:
        desk.missing(GONE)
    address = _address(desk, key)
    if _stopped(desk.reports.person(address)) is None:
        desk.change(address, out=True, reason="by_hand")
        desk.settle()
    return desk.back("person", "person_stopped", key=key)


def person_export(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Hand over all that is kept about somebody, as JSON."""
    desk.need("addresses")
    everything = desk.state.people.export(_address(desk, key), within=desk.scope)
    return desk.json("person", plain(everything))


def person_erase(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Ask once more, and forget somebody."""
    address = _address(desk, key)
    typed = request.form.get("address", "")[:_LONGEST]
    if request.method == "POST" and normalise(typed) == address:
        desk.state.people.erase(address, within=desk.scope, by=desk.viewer.name)
        return desk.back("people", "person_erased")
    wrong = request.method == "POST"
    found = desk.reports.person(address, size=1)
    return desk.page("erase.html", status=400 if wrong else 200, key=key, person=found, wrong=wrong, typed=typed)


def _address(desk: Desk, key: uuid.UUID) -> str:
    address = desk.reports.address_of(key)
    if not address:
        desk.missing(GONE)
    return str(address)


def _declined(person: Person) -> dict[str, datetime]:
    """Return when somebody has declined measuring, as :func:`outcome` asks for it."""
    since = next((each.since for each in person.standing if each.kind == OptOutKind.TRACKING), None)
    return {person.address: since} if since else {}


def _stopped(person: Person) -> Any:
    """Return what stands against all mail to somebody."""
    return next((each for each in person.standing if (each.list_id, each.kind) == EVERYTHING), None)


ROUTES = (
    Route("/people", "people", "view", people),
    Route("/people/search", "people_search", "view", people_search, ("POST",)),
    Route("/people/<uuid:key>", "person", "view", person),
    Route("/people/<uuid:key>/choices", "person_choices", "manage", person_choices, ("POST",)),
    Route("/people/<uuid:key>/stop", "person_stop", "manage", person_stop, ("POST",)),
    Route("/people/<uuid:key>/export", "person_export", "export", person_export),
    Route("/people/<uuid:key>/erase", "person_erase", "manage", person_erase),
    Route("/people/<uuid:key>/erase", "person_forget", "manage", person_erase, ("POST",)),
)

"""The pages of the mailbox, as a blueprint.

The mailbox shows every mail that the app sends, password resets included. So it is there under ``debug`` and
``TESTING`` only, and elsewhere all its addresses answer 404. All pages work without JavaScript, and nothing but a POST
from one of them changes anything.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from flask import Blueprint, Flask, Response, abort, current_app, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from flask_mailtrack.entrance import from_elsewhere, only_the_method_is_wrong
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import now
from flask_mailtrack.host_token import host_field
from flask_mailtrack.languages import Words, reader_words
from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.reporting.timeline import MessageLine, Timeline
from flask_mailtrack.seal import PAGE, POLICY, SealedResponse
from flask_mailtrack.state import State, known_state
from flask_mailtrack.templating import rendered
from flask_mailtrack.time_zones import zone_of
from flask_mailtrack.wording import Clock, seconds

from . import frame, visitors
from .addresses import OwnAddresses
from .differences import changed
from .headings import headings, one_click
from .kept import MailLabel
from .letterbox import KEPT
from .post import NAME, post, set_up

log: logging.Logger = logging.getLogger("flask_mailtrack.mailbox")

VIEWS = {
    "rendered": Phrase("Rendered"),
    "text": Phrase("Text"),
    "headers": Phrase("Headers"),
    "raw": Phrase("Raw"),
    "changes": Phrase("What tracking changed"),
    "timeline": Phrase("Timeline"),
}
_FILE = "default-src 'none'; sandbox"
_HEADERS = {"Cache-Control": "no-store, private", "X-Frame-Options": "SAMEORIGIN"}
"""What is told otherwise than of other pages of operators."""
_LONGEST = 300_000
"""Characters of a part that a page shows; the file of the mail has all of them."""


def mailbox(*, force: bool = False) -> Blueprint:
    """Return a blueprint with the mails that the app has sent, and with what became of them.

    It is for development, and needs no mail server. Register it before or after ``init_app``, at any prefix::

        app.register_blueprint(mailtrack.mailbox(), url_prefix="/mailbox")

    The latest 200 mails are kept in the instance folder, also while ``MAIL_SUPPRESS_SEND`` keeps them from leaving;
    under ``TESTING``, in a temporary folder. Without ``debug`` and ``TESTING`` nothing is kept, and each address of the
    mailbox answers 404.

    :param force: ``True`` opens the mailbox everywhere. Whoever reaches it reads every mail, password resets included.
    """
    made = Blueprint(
        NAME, "flask_mailtrack", template_folder="templates", static_folder="static", static_url_path="/static"
    )
    made.record(lambda setup: set_up(cast("Flask", setup.app), force, setup.url_prefix or "", made))
    made.before_request(_only_if_open)
    made.before_app_request(_not_even_a_method)
    made.before_request(_only_from_here)
    made.context_processor(_words)
    made.add_url_rule("/", "index", _index, strict_slashes=False)
    made.add_url_rule("/list", "rows", _rows)
    made.add_url_rule("/of/<uuid:row>", "found", _found)
    made.add_url_rule("/<uuid:key>", "message", _message)
    made.add_url_rule("/<uuid:key>/timeline", "timeline", _timeline)
    made.add_url_rule("/<uuid:key>/body", "body", _body)
    made.add_url_rule("/<uuid:key>/mail.eml", "download", _download)
    made.add_url_rule("/<uuid:key>/act", "act", _act, methods=["POST"])
    made.add_url_rule("/empty", "empty", _empty, methods=["POST"])
    return made


def _answer(body: str | bytes, policy: str, status: int = 200, **more: Any) -> SealedResponse:
    made = SealedResponse(body, status, **more)
    made.seal = {**PAGE, **_HEADERS, "Content-Security-Policy": policy}
    # A mail may hold a placeholder that nobody has filled in, and the guard against these in pages must not read it.
    made.direct_passthrough = True
    return made


def _page(template: str, status: int = 200, **values: Any) -> Response:
    return _answer(rendered(f"mailtrack/mailbox/{template}", **values), POLICY, status, mimetype="text/html")


def _only_if_open() -> None:
    if not post().is_open():
        post().refuse()


def _not_even_a_method() -> None:
    """Answer 404 also to a method that a page does not know, or the answer would tell that there is a mailbox."""
    if not post().is_open() and only_the_method_is_wrong(post().blueprint):
        post().refuse()


def _only_from_here() -> None:
    """Refuse a POST that another site made a browser send: there is no login that would tell the two apart."""
    if request.method == "POST" and from_elsewhere(request.headers, request.headers.get("Host", ""), alone=True):
        abort(403, _speech().say(Phrase("This form was sent from another site.")))


def _state() -> State | None:
    return known_state(current_app._get_current_object())  # type: ignore[attr-defined]


def _words() -> dict[str, Any]:
    """Return what all templates use."""
    state, speech = _state(), _speech()
    zone = zone_of(state.settings.timezone if state else "UTC")
    clock = Clock(zone, now(), speech)
    return {
        "t": speech,
        "say": lambda text: speech.say(text, clock.written),
        "clock": clock.second,
        "later": partial(seconds, t=speech),
        "zone": str(zone),
        "kept": KEPT,
        "trouble": post().box.trouble,
        "home": _home(),
        "host_field": host_field,
    }


def _speech() -> Words:
    """Return the words of the reader, as the console has them."""
    return reader_words("babel" in current_app.extensions, request.headers.get("Accept-Language", ""))


def _home() -> str:
    """Return the first page of the app; empty: it has none."""
    there = current_app.create_url_adapter(request)
    return f"{request.script_root}/" if there is not None and there.test("/", "GET") else ""


def _drained() -> State | None:
    """Move what has just happened to the tables, so that the page shows it."""
    state = _state()
    try:
        if state is not None:
            state.drain.run()
    except Exception:
        log.exception("the mailbox shows the tables as they are")
    return state


def _index() -> Response:
    """The mails, newest first."""
    return _page("index.html", **_list())


def _rows() -> Response:
    """The list alone, for the page to refresh itself."""
    return _page("_rows.html", **_list())


def _list() -> dict[str, Any]:
    state, wanted = _drained(), request.args.get("q", "").strip()
    labels = post().box.labels()
    shown = [label for label in labels if wanted.casefold() in f"{label[2:5]}".casefold()] if wanted else labels
    return {"labels": shown, "all": len(labels), "known": _known(state, shown), "q": wanted}


def _known(state: State | None, labels: Sequence[MailLabel]) -> dict[uuid.UUID, MessageLine]:
    try:
        return state.reports.known([label.row for label in labels if label.row]) if state else {}
    except Exception:
        log.exception("the mailbox shows no marks")
        return {}


def _found(row: uuid.UUID) -> AnyResponse:
    """Lead from the id of a message row to its mail."""
    label = next((each for each in post().box.labels() if each.row == row), None)
    return redirect(url_for(".message", key=label.id), 303) if label else _gone()


def _gone() -> Response:
    return _page("gone.html", 404)


def _message(key: uuid.UUID) -> Response:
    """One mail, as its recipient gets it, and what Mailtrack sees."""
    mail = post().box.find(key)
    if mail is None:
        return _gone()
    state, asked = _drained(), request.args
    view = asked.get("view", "rendered")
    view = view if view in VIEWS else "rendered"
    own, here = OwnAddresses.of(state, mail.label.sender), request.host_url.rstrip("/")
    values = {
        "mail": mail,
        "view": view,
        "views": VIEWS,
        "images": "images" in asked,
        "phone": "phone" in asked,
        "said": visitors.SAID.get(asked.get("done", ""), NOTHING),
        "done": asked.get("done", ""),
        "number": asked.get("number", type=int),
        "sandbox": frame.SANDBOX,
        "longest": _LONGEST,
        "elsewhere": _elsewhere(own, here),
        "here": here,
        **_story(state, mail.label),
    }
    if view == "headers":
        values |= {"headings": headings(mail), "one_click": one_click(mail)}
    if view == "changes":
        values |= changed(state, mail, own)
    return _page("message.html", **values)


def _elsewhere(own: OwnAddresses, here: str) -> Phrase:
    """Return what is to be said of links that lead to another place than *here*; empty: none do."""
    if not (places := own.elsewhere(here)):
        return NOTHING
    return Phrase(
        "Links of this mail lead to %(places)s. In the frame, they are asked here instead, at %(here)s, with the same "
        "tokens: nobody outside is asked.",
        places=places,
        here=here,
    )


def _timeline(key: uuid.UUID) -> Response:
    """The timeline alone, for the page to refresh itself."""
    mail = post().box.find(key)
    return _page("_timeline.html", mail=mail, **_story(_drained(), mail.label)) if mail else _gone()


def _story(state: State | None, label: MailLabel) -> dict[str, Any]:
    """Return what became of a mail, or why nobody knows."""
    timeline: Timeline | None = None
    silence = NOTHING
    if state is None:
        silence = Phrase("Mailtrack is not set up for this app, or is switched off (MAILTRACK_ENABLED).")
    elif label.row is None:
        silence = Phrase("Nothing is kept of this mail: it was sent with store=False, or past Mailtrack.")
    else:
        try:
            timeline = state.reports.timeline(label.row)
        except ReportError:
            silence = Phrase("There is no row of this mail: it is purged, or the database was made anew.")
        except Exception:
            log.exception("the mailbox shows no timeline")
            silence = Phrase(
                "The database cannot be asked now, and the log says why. Opens and clicks wait on disk meanwhile."
            )
    return {"timeline": timeline, "silence": silence}


def _body(key: uuid.UUID) -> Response:
    """The HTML of a mail, for a frame. To load its pictures is what opens it."""
    mail = post().box.find(key)
    if mail is None:
        return _gone()
    images = "images" in request.args
    own = OwnAddresses.of(_state(), mail.label.sender)
    html = mail.with_inline_images(mail.html)
    made = _answer(
        frame.framed(html, own.bases, request.script_root, images), frame.policy(images), mimetype="text/html"
    )
    made.seal = {**made.seal, "Referrer-Policy": "no-referrer"}
    return made


def _download(key: uuid.UUID) -> Response:
    """The mail itself, as a file."""
    mail = post().box.find(key)
    if mail is None:
        return _gone()
    made = _answer(mail.raw, _FILE, mimetype="message/rfc822")
    made.seal = {**made.seal, "Content-Disposition": f'attachment; filename="{mail.label.id}.eml"'}
    return made


def _act(key: uuid.UUID) -> AnyResponse:
    """Do what somebody else would do with this mail."""
    mail = post().box.find(key)
    if mail is None:
        return _gone()
    name = request.form.get("what", "")
    if name not in visitors.VISITORS:
        abort(400)
    outcome = visitors.visit(name, mail, OwnAddresses.of(_state(), mail.label.sender))
    view, phone = (request.form.get(each) or None for each in ("view", "phone"))
    there = url_for(".message", key=key, view=view, phone=phone, done=outcome.done, number=outcome.number or None)
    return redirect(there, 303)


def _empty() -> AnyResponse:
    """Delete all mails."""
    post().box.empty()
    return redirect(url_for(".index"), 303)

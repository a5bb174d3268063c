"""The pages. All of them work without JavaScript, and nothing but a POST changes anything."""

from __future__ import annotations

import re
import shlex
import uuid
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from sqlalchemy import and_, func, select
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from . import compose as composing
from . import mailbox, words
from .models import Letter, db, mailtrack

pages = Blueprint("pages", __name__)

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
# The mail is a stranger's: its own origin, no script, no form; a link may only open a tab.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src {images}; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
SHOWN = 100

_START = re.compile(r"\s*(<!doctype[^>]*>)?\s*(<html[^>]*>)?\s*(<head[^>]*>)?", re.IGNORECASE)
_IMAGE = re.compile(r"(<img\b[^>]*?\s)src(?=\s*=)", re.IGNORECASE)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@pages.before_app_request
def only_from_here() -> None:
    """Refuse a POST that another site made a browser send. The routes of mailtrack mind themselves."""
    if request.method != "POST" or request.blueprint == "mailtrack":
        return
    origin = request.headers.get("Origin", request.host_url)
    foreign = request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
    if foreign or origin.rstrip("/") != request.host_url.rstrip("/"):
        abort(403, "This form was sent from another site.")


@pages.after_app_request
def harden(response: Response) -> Response:
    """Set the headers of all pages that are not mailtrack's or the mail's own."""
    if request.blueprint != "mailtrack":
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


@pages.app_errorhandler(HTTPException)
def error_page(error: HTTPException) -> tuple[str, int]:
    """Say what went wrong in words."""
    return render_template("error.html", error=error), error.code or 500


@pages.app_context_processor
def elsewhere() -> dict[str, str]:
    """Tell the pages if links in mails lead to another place than the one that is being looked at."""
    base = urlsplit(current_app.config["MAILTRACK_BASE_URL"])
    here = urlsplit(request.host_url)
    same_host = here.hostname == base.hostname or {here.hostname, base.hostname} <= _LOOPBACK
    if here.scheme == base.scheme and here.port == base.port and same_host:
        return {}
    origin = shlex.quote(f"{here.scheme}://{here.netloc}")
    port = f" -p {here.port}" if here.port else ""
    return {"cure": f"MAILTRACK_BASE_URL={origin} flask --app example_app run{port}"}


@pages.get("/")
def overview() -> str:
    """The funnel, the campaigns, the latest mails."""
    mailtrack.flush()
    model = mailtrack.models.Message
    tags = db.session.scalars(select(model.tag).group_by(model.tag).order_by(func.max(model.created_at).desc()))
    campaigns = [(tag, mailtrack.stats(tag=tag)) for tag in tags]
    return render_template("overview.html", stats=mailtrack.stats(), campaigns=campaigns, messages=_messages(8))


@pages.get("/messages")
def messages() -> str:
    """Mails of one campaign, of one sending, or all."""
    wanted: dict[str, Any] = {name: request.args[name] for name in ("tag", "batch_id") if name in request.args}
    if "batch_id" in wanted:
        wanted["batch_id"] = request.args.get("batch_id", type=uuid.UUID) or abort(404)
    return render_template("messages.html", wanted=wanted, messages=_messages(SHOWN, **wanted), shown=SHOWN)


@pages.get("/messages/<uuid:key>")
def message(key: uuid.UUID) -> str:
    """The timeline of one mail to one person."""
    row = _message(key)
    kept = db.session.scalars(select(Letter).where(_is_of(row))).first()
    return render_template("message.html", message=row, letter=kept, lines=words.timeline(row))


@pages.get("/messages/<uuid:key>/timeline")
def timeline(key: uuid.UUID) -> str:
    """The timeline alone, for the page to refresh itself."""
    return render_template("_timeline.html", message=(row := _message(key)), lines=words.timeline(row))


@pages.route("/compose", methods=["GET", "POST"])
def compose() -> str | tuple[str, int] | AnyResponse:
    """Write a mail and send it."""
    if request.method == "GET":
        return _compose(composing.Draft())
    draft = composing.Draft.of(request.form)
    try:
        sent = composing.send(draft)
    except composing.Unsendable as error:
        return _compose(draft, error), 422
    rows = _messages(composing.MOST, header_message_id=sent.msgId)
    if len(rows) > 1:
        return redirect(url_for(".messages", batch_id=rows[0].batch_id), 303)
    kept = db.session.scalars(select(Letter).where(_is_of(rows[0]))).first()
    return redirect(url_for(".letter", number=kept.id) if kept else url_for(".message", key=rows[0].id), 303)


@pages.get("/inbox")
def inbox() -> str:
    """The mails, newest first."""
    mailtrack.flush()
    model = mailtrack.models.Message
    query = select(Letter, model).outerjoin(model, _is_of(model)).order_by(Letter.id.desc())
    return render_template("inbox.html", letters=db.session.execute(query).all(), kept=mailbox.KEPT)


@pages.get("/inbox/<int:number>")
def letter(number: int) -> str:
    """One mail, as its recipient sees it, with what mailtrack sees beside it."""
    mailtrack.flush()
    kept = db.get_or_404(Letter, number)
    row = mailbox.row_of(kept)
    return render_template(
        "letter.html",
        letter=kept,
        message=row,
        lines=words.timeline(row) if row else [],
        view=request.args.get("view", "mail"),
        images="images" in request.args,
        done=request.args.get("done"),
    )


@pages.get("/inbox/<int:number>/body")
def body(number: int) -> Response:
    """The HTML of a mail, for a frame. Showing its images is what opens it."""
    # A link must not replace the mail in its frame.
    html = _START.sub(r'\g<0><base target="_blank">', db.get_or_404(Letter, number).html, count=1)
    images = "data:"
    if "images" in request.args:
        images += f" 'self' {current_app.config['MAILTRACK_BASE_URL']}/"
    else:  # the policy holds them back; without this the browser's console would complain of each
        html = _IMAGE.sub(r"\1data-src", html)
    response = Response(html)
    response.headers["Content-Security-Policy"] = MAIL_POLICY.format(images=images)
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


@pages.post("/inbox/<int:number>/act")
def act(number: int) -> AnyResponse:
    """Do what somebody else would do with this mail."""
    kept = db.get_or_404(Letter, number)
    what = request.form.get("what", "")
    mailbox.ACTS.get(what, lambda _: abort(400))(kept)
    return redirect(url_for(".letter", number=number, done=what), 303)


@pages.get("/shop/<slug>")
def shop(slug: str) -> str:
    """Where the links of the mails lead."""
    return render_template("shop.html", slug=slug, name=slug.replace("-", " ").capitalize())


@pages.get("/favicon.ico")
def favicon() -> AnyResponse:
    """Browsers ask for it unasked."""
    return redirect(url_for("static", filename="icon.svg"))


def _compose(draft: composing.Draft, error: composing.Unsendable | None = None) -> str:
    lists = current_app.config["MAILTRACK_LISTS"]
    return render_template("compose.html", draft=draft, error=error, lists=lists, templates=composing.TEMPLATES)


def _messages(limit: int, **wanted: Any) -> Any:
    mailtrack.flush()
    model = mailtrack.models.Message
    return db.session.scalars(select(model).filter_by(**wanted).order_by(model.created_at.desc()).limit(limit)).all()


def _message(key: uuid.UUID) -> Any:
    mailtrack.flush()
    return db.get_or_404(mailtrack.models.Message, key)


def _is_of(model: Any) -> Any:
    return and_(Letter.header_message_id == model.header_message_id, Letter.recipient == model.recipient)

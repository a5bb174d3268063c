"""The pages. All of them work without JavaScript, and nothing but a POST changes anything."""

from __future__ import annotations

import shlex
import uuid
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from sqlalchemy import func, select
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from flask_mailtrack.events import Status

from . import compose as composing
from . import words
from .models import db, mailtrack

pages = Blueprint("pages", __name__)

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
SHOWN = 100

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
    return render_template("message.html", message=row, lines=words.timeline(row))


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
    copies = mailtrack.sent(sent)
    if len(copies) > 1:
        return redirect(url_for(".messages", batch_id=_message(copies[0].id).batch_id), 303)
    if copies[0].status == Status.SUPPRESSED:
        return redirect(url_for(".message", key=copies[0].id), 303)
    return redirect(url_for("mailtrack_mailbox.found", row=copies[0].id), 303)


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

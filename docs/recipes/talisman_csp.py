"""Flask-Talisman with a strict policy, Flask-WTF's CSRF protection and a login wall: readers of mails still come in."""

from flask import Flask, redirect, request, session
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from flask_wtf import CSRFProtect
from flask_mailtrack import Mailtrack

db, mail, csrf, talisman = SQLAlchemy(), Mail(), CSRFProtect(), Talisman()
mailtrack = Mailtrack(mail=mail, db=db)


def create_app(config=None):
    """Return an app in which every page wants a login and https."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)  # the order does not matter: the front door is before all of them
    csrf.init_app(app)
    talisman.init_app(app, content_security_policy={"default-src": "'self'"})
    with app.app_context():
        db.create_all()

    @app.before_request
    def login_required():
        return None if "user" in session or request.endpoint == "login" else redirect("/login")

    @app.get("/login")
    def login():
        return "Who are you?"

    @app.cli.command("send-news")
    def send_news():
        html = '<p><a href="https://shop.example/">Our shop</a></p>'
        mail.send(mailtrack.track(Message("News", recipients=["ada@example.com"], html=html), list_id="news"))

    return app

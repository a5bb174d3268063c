"""Several tenants in one app: each has a sender domain, a list of its own, and a console that shows its mail only."""

from flask import Flask, request, session
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack, Scope

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)
TENANTS = {"leaf": "leaf.example", "bean": "bean.example"}


def tenant():
    """Return the tenant of whoever is logged in; None: nobody is. Ask your login here."""
    return session.get("tenant")


def access():
    """Let a tenant look, but not into other people's settings."""
    return {"view", "addresses", "export"} if tenant() in TENANTS else set()


def scope():
    """Return the mail of the tenant. A mistake here closes the console; it never shows more."""
    return Scope(sender_domains={TENANTS[tenant()]})


def create_app(config=None):
    """Return an app with a console at /mailtrack."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)
    app.register_blueprint(mailtrack.console(access=access, scope=scope), url_prefix="/mailtrack")
    with app.app_context():
        db.create_all()

    @app.post("/login")
    def login():
        session["tenant"] = request.form["tenant"]  # in your app: after a password
        return ""

    @app.post("/send")
    def send():
        name = tenant()
        html = f'<p><a href="https://www.{TENANTS[name]}/">Our shop</a></p>'
        message = Message("News", sender=f"news@{TENANTS[name]}", recipients=[request.form["to"]], html=html)
        mail.send(mailtrack.track(message, list_id=f"{name}/news"))  # an unsubscribe is from this tenant only
        return ""

    @app.get("/figures")
    def figures():
        totals = mailtrack.reports.within(scope()).totals()
        return {"sent": totals.sent, "clicked": totals.clicked.unique}

    return app

"""The usual layout: extensions at the top, a factory, and one route that sends.

flask --app factory run
"""

from flask import Flask, request
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)


def create_app(config=None):
    """Return an app; keys also come from the environment, as FLASK_MAILTRACK_BASE_URL."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)  # after the other two
    with app.app_context():
        db.create_all()

    @app.post("/register")
    def register():
        html = '<h1>Welcome</h1><p><a href="https://shop.example/start">Start here</a></p>'
        message = Message("Welcome", recipients=[request.form["email"]], html=html)
        mail.send(mailtrack.track(message, tag="welcome"))
        return "Look into your inbox."

    return app

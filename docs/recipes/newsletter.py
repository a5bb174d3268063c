"""A newsletter: subscribers in a table, one list, a campaign that goes on where it stopped, and a page of figures.

flask --app newsletter send "Spring"
"""

import click
from flask import Flask, render_template_string
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)

LETTER = """\
<h1>{{ subject }}</h1>
<p><a href="https://shop.example/tea" data-mailtrack-name="tea">A new tea</a></p>
<p><a href="{{ unsubscribe_url() }}">Unsubscribe</a> or <a href="{{ preferences_url() }}">choose your lists</a></p>
"""
FIGURES = """\
{% for line in campaigns.lines %}<p>{{ line.name }}: {{ line.totals.sent }} sent,
{{ line.totals.clicked.unique }} of {{ line.totals.clicked.of }} clicked</p>{% endfor %}
"""


class Subscriber(db.Model):
    """Somebody who gets the newsletter. Who has left stays here; the opt-out is asked at each send."""

    email = db.Column(db.String(320), primary_key=True)


def create_app(config=None):
    """Return an app."""
    app = Flask(__name__)
    app.config["MAILTRACK_LISTS"] = {"news": {"title": "News", "description": "Once a month."}}
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)
    with app.app_context():
        db.create_all()
    app.cli.command("send")(send)
    app.get("/figures")(figures)
    return app


@click.argument("subject")
def send(subject):
    """Send the newsletter to all subscribers. If it is killed, the next call goes on; nobody gets it twice."""
    letter = Message(subject, html=LETTER)
    people = [(each.email, {"subject": subject}) for each in db.session.scalars(db.select(Subscriber))]
    print(mailtrack.send_each(letter, people, key=subject, tag=subject, list_id="news", progress=True))


def figures():
    """Show what became of each newsletter."""
    return render_template_string(FIGURES, campaigns=mailtrack.reports.campaigns())

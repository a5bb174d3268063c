"""Flask-Mailman: an order is confirmed by a mail with an attachment, and a newsletter goes out over one connection.

flask --app mailman send "Spring"
"""

import click
from flask import Flask, render_template_string, request
from flask_mailman import EmailMultiAlternatives, Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)

ORDER = '<p>Thank you. <a href="https://shop.example/orders/7">Follow your order</a></p>'
LETTER = """\
<h1>{{ subject }}</h1>
<p><a href="https://shop.example/tea">A new tea</a>, <a href="{{ unsubscribe_url() }}">unsubscribe</a></p>
"""


class Subscriber(db.Model):
    """Somebody who gets the newsletter."""

    email = db.Column(db.String(320), primary_key=True)


def create_app(config=None):
    """Return an app. Without MAIL_SERVER, Flask-Mailman speaks to the mail server of this machine."""
    app = Flask(__name__)
    app.config["MAILTRACK_LISTS"] = {"news": {"title": "News"}}
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)  # after the other two
    with app.app_context():
        db.create_all()
    app.cli.command("send")(send)
    app.post("/orders")(order)
    return app


def order():
    """Confirm an order."""
    message = EmailMultiAlternatives("Your order", "Thank you.", to=[request.form["email"]])
    message.attach_alternative(ORDER, "text/html")
    message.attach("invoice.txt", "7 cups of tea", "text/plain")
    mailtrack.track(message, tag="order").send()
    return {copy.recipient: copy.status for copy in mailtrack.sent(message)}


@click.argument("subject")
def send(subject):
    """Send the newsletter to all subscribers. Who has left gets none."""
    html = render_template_string(LETTER, subject=subject)
    with mail.get_connection() as connection:
        for subscriber in db.session.scalars(db.select(Subscriber)):
            message = EmailMultiAlternatives(subject, to=[subscriber.email], connection=connection)
            message.attach_alternative(html, "text/html")
            mailtrack.track(message, tag=subject, list_id="news").send()

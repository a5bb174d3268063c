"""Mail that Celery workers send, one by one and as a campaign. A task has an app context; nothing else is needed.

celery --app celery_worker.celery worker
"""

from celery import Celery, Task
from flask import Flask, request
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack
from flask_mailtrack.errors import KeyNotClaimed, OptOutsUnavailable

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)
celery = Celery("shop")


def create_app(config=None):
    """Return an app. Web processes and workers need the same keys, or links of one are strange to the other."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)
    with app.app_context():
        db.create_all()

    class InContext(Task):
        def __call__(self, *arguments, **named):
            with app.app_context():
                return self.run(*arguments, **named)

    celery.Task = InContext
    celery.conf.update(app.config.get("CELERY", {}))

    @app.post("/orders")
    def order():
        confirm.delay(request.form["email"])
        return "", 202

    return app


@celery.task
def confirm(address):
    """Send a confirmation, and return what became of it."""
    html = '<p><a href="https://shop.example/orders/7">Your order</a></p>'
    message = Message("Your order", recipients=[address], html=html)
    mail.send(mailtrack.track(message, tag="order"))
    return [copy.status.value for copy in mailtrack.sent(message)]


@celery.task(acks_late=True, autoretry_for=(OSError, KeyNotClaimed, OptOutsUnavailable), retry_backoff=True)
def news_to(people):
    """Send the newsletter to some people. However often the task runs, nobody gets the mail twice."""
    letter = Message("News", html='<p><a href="https://shop.example/news">News</a></p>')
    return str(mailtrack.send_each(letter, people, key="news-2026-05", tag="news-2026-05"))


def send_news(people):
    """Hand the newsletter to the workers, a task for a thousand people."""
    for first in range(0, len(people), 1_000):
        news_to.delay(people[first : first + 1_000])

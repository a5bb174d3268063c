"""Mails, events and opt-outs in Flask-Admin, to read; the figures at the top are by people."""

from flask import Flask, abort
from flask_admin import Admin, AdminIndexView
from flask_admin.contrib.sqla import ModelView
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)


def is_staff():
    """Ask your login here: current_user.is_staff."""
    return True


class Locked:
    """What only the staff may see."""

    def is_accessible(self):
        """Return whether the visitor may look."""
        return is_staff()

    def inaccessible_callback(self, name, **named):
        """Answer as if there were nothing."""
        abort(404)


class Index(Locked, AdminIndexView):
    """The first page."""


class Rows(Locked, ModelView):
    """Rows to read. To suppress somebody, use mailtrack.suppress: it writes the audit and sends the signal."""

    can_create = can_edit = can_delete = False
    can_view_details = True
    column_default_sort = ("id", True)  # ids are in order of time


class Mails(Rows):
    """The mails."""

    column_list = ("created_at", "recipient", "subject", "tag", "status", "open_count", "click_count")
    column_filters = ("tag", "status")


class Events(Rows):
    """What happened to the mails."""

    column_list = ("occurred_at", "type", "url", "verdict", "verdict_reasons", "client")


class OptOuts(Rows):
    """Who has left."""

    column_list = ("recipient", "list_id", "kind", "method", "created_at")
    column_default_sort = ("created_at", True)


def create_app(config=None):
    """Return an app with the views at /admin."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)
    admin = Admin(app, name="Shop", index_view=Index())
    models = mailtrack.models
    admin.add_view(Mails(models.Message, db, name="Mails", endpoint="mails"))
    admin.add_view(Events(models.Event, db, name="Events", endpoint="events"))
    admin.add_view(OptOuts(models.OptOut, db, name="Opt-outs", endpoint="optouts"))
    with app.app_context():
        db.create_all()
    return app

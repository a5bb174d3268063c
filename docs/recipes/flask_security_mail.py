"""Flask-Security: its mails have a tag for each template, and their links, which work once, are left alone."""

from flask import Flask
from flask_mail import Mail, Message
from flask_mailtrack import Mailtrack
from flask_security import MailUtil, Security, SQLAlchemyUserDatastore
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy

db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)
fsqla_v3.FsModels.set_db_info(db)


class Role(db.Model, fsqla_v3.FsRoleMixin):
    """A role."""


class User(db.Model, fsqla_v3.FsUserMixin):
    """A user."""


class AccountMail(MailUtil):
    """Sends the mails of Flask-Security as mail about an account."""

    def send_mail(self, template, subject, recipient, sender, body, html, **context):
        """Send one mail. Nobody can leave such mail, so it is transactional."""
        with mailtrack.options(tag=template.rpartition("/")[2], transactional=True):
            mail.send(Message(subject, recipients=[recipient], sender=str(sender), body=body, html=html))


def create_app(config=None):
    """Return an app with Flask-Security's pages."""
    app = Flask(__name__)
    app.config.update(SECURITY_RECOVERABLE=True, SECURITY_REGISTERABLE=True)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    db.init_app(app)
    mail.init_app(app)
    mailtrack.init_app(app)
    Security(app, SQLAlchemyUserDatastore(db, User, Role), mail_util_cls=AccountMail)
    with app.app_context():
        db.create_all()
    return app

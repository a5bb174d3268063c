"""The extensions."""

from __future__ import annotations

from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack

db = SQLAlchemy()
mail = Mail()
mailtrack = Mailtrack(mail=mail, db=db)

"""The commands ``flask mailtrack …``. They stand on the state of the current app, and nothing stands on them.

Each module holds the commands of one subject, and takes its parts from the state.
"""

from __future__ import annotations

from flask.cli import AppGroup

from .check import check, classify, networks, status
from .doctor import doctor
from .domains import domains
from .explain import explain
from .journal import drain, rebuild, recover
from .mails import inspect, preview, stats
from .partitions import partitions
from .people import audit, erase, export, purge, suppress
from .relay import relay
from .report import report
from .settings import settings, tags
from .webhooks import webhooks

mailtrack: AppGroup = AppGroup("mailtrack", help="E-mail tracking: figures, checks, the spool.")

for _command in (
    *(stats, report, preview, inspect),
    *(check, status, doctor, explain),
    *(drain, recover, rebuild, partitions),
    *(classify, networks),
    *(suppress, purge, export, erase, audit),
    *(settings, domains, tags, webhooks),
    relay,
):
    mailtrack.add_command(_command)

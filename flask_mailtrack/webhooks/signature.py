"""The headers of Standard Webhooks 1.0.0, by which a receiver knows who posts. Only this module imports the package."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING or find_spec("standardwebhooks") is not None:  # without the extra "webhooks", no app has an endpoint
    from standardwebhooks.webhooks import Webhook


def signed(secrets: Sequence[str], webhook_id: str, moment: datetime, body: str) -> dict[str, str]:
    """Return the headers of one attempt.

    :param secrets: each of them signs, so that a receiver may change its own at any time.
    :param moment: of this attempt, in UTC: the package replaces another zone without converting.
    """
    signatures = [Webhook(secret).sign(webhook_id, moment, body) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }

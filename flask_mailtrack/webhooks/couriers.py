"""All couriers of an app, each in a thread of its own, and a slow endpoint holds up neither others nor the drain."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from flask_mailtrack.endpoints import Endpoint
from flask_mailtrack.storage.drain.chores import Chore
from flask_mailtrack.storage.drain.health import backlog, keep_backlog
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.outbox import DEAD_FOR, WebhookOutbox
from flask_mailtrack.webhook import DeliveryState

from .courier import Courier

log: logging.Logger = logging.getLogger("flask_mailtrack.webhooks")

LOOK_SECONDS = 3.0
"""Seconds between two looks for due deliveries."""
SWEEP_SECONDS = 300.0
"""Seconds between two times of counting, and of deleting what is over."""


@dataclass(frozen=True)
class Couriers:
    """The outbox, and a courier for each endpoint. Without an endpoint, old rows are deleted all the same."""

    outbox: WebhookOutbox
    every: tuple[Courier, ...]
    directory: Path
    """Where the health is told how many wait."""

    @classmethod
    def of(
        cls, database: Database, endpoints: Collection[Endpoint], keep_days: Mapping[str, float], directory: Path
    ) -> Couriers:
        """Return the couriers of an app.

        :param keep_days: how long rows are kept, as the host has told its readers.
        """
        kept = min([DEAD_FOR, *(timedelta(days=days) for days in keep_days.values())])
        outbox = WebhookOutbox(database, endpoints, kept)
        every = tuple(Courier(endpoint, outbox) for endpoint in outbox.endpoints.values())
        return cls(outbox, every, directory)

    def find(self, url: str) -> Courier | None:
        """Return the courier of an endpoint, by its URL."""
        return next((each for each in self.every if each.endpoint.url == url), None)

    def run(self) -> int:
        """Deliver what is due to each endpoint, one after the other, and return how many deliveries were taken.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        done = sum(courier.run() for courier in self.every)
        self.sweep()
        return done

    def sweep(self) -> None:
        """Delete what is over, and note how many deliveries wait or are dead.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        if not self.every and not self.outbox.is_made():
            return
        self.outbox.sweep()
        numbers: dict[str, int] = {DeliveryState.WAITING.value: 0, DeliveryState.DEAD.value: 0}
        for each in self.outbox.backlogs():
            numbers[each.state.value] += each.number
        if self.every or backlog(self.directory):  # an app that never had one says nothing
            keep_backlog(self.directory, numbers)

    def chores(self) -> list[Chore]:
        """Return what whoever drains does now and then: a chore for each endpoint, and one for all."""
        trouble = "webhooks cannot be delivered now"
        sweep = Chore("mailtrack-outbox", SWEEP_SECONDS, self.sweep, trouble, log, at_once=bool(self.every))
        return [*map(partial(_chore, trouble=trouble), self.every), sweep]


def _chore(courier: Courier, trouble: str) -> Chore:
    return Chore(f"mailtrack-webhook-{courier.endpoint.key}", LOOK_SECONDS, courier.run, trouble, log)

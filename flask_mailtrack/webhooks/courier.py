"""Takes the deliveries of one endpoint to it, one after the other, until nothing is due or the endpoint must rest."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from http.client import HTTPException

from flask_mailtrack.endpoints import Endpoint
from flask_mailtrack.events import new_id, now
from flask_mailtrack.outside import CONNECT_SECONDS, fetch, is_public, reachable
from flask_mailtrack.storage.tables.envelope import of_test
from flask_mailtrack.storage.tables.outbox import ClaimedDelivery, WebhookOutbox

from .signature import signed

log: logging.Logger = logging.getLogger("flask_mailtrack.webhooks")

SECONDS = 15.0
"""Seconds that an endpoint may take for one answer."""
MOST = 50
"""Deliveries of one claim."""
MOST_ADDRESSES = 2
AT_MOST_SECONDS = 60.0
"""Seconds after which no other delivery of a claim is begun."""
CLAIM = timedelta(seconds=AT_MOST_SECONDS + MOST_ADDRESSES * (SECONDS + CONNECT_SECONDS) + 80)
"""Longer than all attempts of a claim, and the look-up of the name."""
NOTED_SECONDS = 1.0
"""Seconds for which deliveries are taken before that is noted: a process that dies posts as many again."""
FIRST_SECONDS, FACTOR, LONGEST_SECONDS = 5.0, 5.0, 6 * 3600.0
"""The longest wait after the first failure, how much longer it is after each other one, and the longest of all."""
LONGEST_REST = 300.0
GONE, BUSY = 410, (429, 502, 503, 504)


class NotAsked(Exception):
    """The endpoint is not asked, because of its address."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt.

    :param status: of HTTP; ``None``: there was no answer.
    :param error: why it failed, without a word of the endpoint's own; empty: it took the delivery.
    :param busy: others would fail as well just now.
    :param wait: seconds that the endpoint asks for.
    """

    status: int | None
    error: str = ""
    busy: bool = False
    wait: float = 0.0


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host, each once.

    :raises OSError: nobody knows the name.
    """
    return list(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def backoff(attempts: int, spread: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after so many failed attempts: any part of a time that grows, so that none gather.

    :param spread: from 0 to 1.
    """
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * FACTOR ** min(attempts - 1, 16))
    return max(1.0, longest * spread())


class Courier:
    """The courier of one endpoint. Each process has its own, and they share the work by claims.

    :param resolve: returns the addresses of a host; see :func:`resolved`.
    :param clock: returns the present moment.
    :param passed: returns monotonic seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        outbox: WebhookOutbox,
        *,
        resolve: Callable[[str, int], Sequence[str]] = resolved,
        clock: Callable[[], datetime] = now,
        passed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._outbox = outbox
        self._resolve = resolve
        self._clock = clock
        self._passed = passed
        self._failures = 0
        self._rests_until = 0.0

    def run(self) -> int:
        """Deliver what is due, and return how many deliveries the endpoint took.

        An endpoint that does not answer, or is busy, rests for a while, and its other deliveries wait untried.

        :raises SQLAlchemyError: the database cannot be asked; what was claimed comes back by itself.
        :raises DatabaseBusy: likewise.
        """
        done = 0
        while self._passed() >= self._rests_until and (claimed := self._outbox.claim(self.endpoint.key, MOST, CLAIM)):
            done += self._deliver(claimed)
        return done

    def _deliver(self, claimed: Sequence[ClaimedDelivery]) -> int:
        """Post the deliveries of a claim, note what came of each, and return how many the endpoint took."""
        begun = noted = self._passed()
        taken: list[ClaimedDelivery] = []
        done, left = 0, list(reversed(claimed))
        while left:
            delivery = left.pop()
            reply = self._post(delivery.webhook_id, delivery.body)
            if reply.error:
                self._note_failure(delivery, reply)
            else:
                self._failures = 0
                taken.append(delivery)
            if self._passed() - noted > NOTED_SECONDS:
                done += self._outbox.delivered(taken)
                taken, noted = [], self._passed()
            if reply.busy or self._passed() - begun > AT_MOST_SECONDS:
                break
        self._outbox.give_back(left)
        return done + self._outbox.delivered(taken)

    def test(self) -> Attempt:
        """Post an event of the type ``mailtrack.test``, once, and return what came of it."""
        told = of_test(str(new_id()))
        return self._post(told.webhook_id, told.body)

    def _note_failure(self, delivery: ClaimedDelivery, reply: Attempt) -> None:
        wait = max(backoff(delivery.attempts + 1), reply.wait)
        final = reply.status == GONE
        if not self._outbox.failed(delivery, timedelta(seconds=wait), reply.status, reply.error, final=final):
            log.error("a webhook to %s is put aside: %s", self.endpoint.host, reply.error)
        if reply.busy:
            self._rest(reply)

    def _rest(self, reply: Attempt) -> None:
        if not self._failures:
            log.warning("webhooks to %s wait: %s", self.endpoint.host, reply.error)
        self._failures += 1
        self._rests_until = self._passed() + max(min(backoff(self._failures), LONGEST_REST), reply.wait)

    def _post(self, webhook_id: str, body: str) -> Attempt:
        headers = {"Content-Type": "application/json", "User-Agent": "flask-mailtrack webhooks"}
        headers |= signed(self.endpoint.secrets, webhook_id, self._clock(), body)
        try:
            status, told = self._asked(body.encode(), headers)
        except NotAsked as error:
            return Attempt(None, str(error), busy=True)
        except ssl.SSLError as error:
            return Attempt(None, f"TLS failed ({error.reason or type(error).__name__})", busy=True)
        except (OSError, HTTPException, ValueError) as error:
            return Attempt(None, f"no answer ({type(error).__name__})", busy=True)
        if 200 <= status < 300:
            return Attempt(status)
        moved = ", and redirects are not followed" if 300 <= status < 400 else ""
        return Attempt(
            status, f"the answer was {status}{moved}", status in BUSY, _asked_for(told.get("retry-after", ""))
        )

    def _asked(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        """Post to the first address that can be reached. The name is looked up once, so it cannot lead elsewhere."""
        endpoint = self.endpoint
        addresses = self._resolve(endpoint.host, endpoint.port)
        inside = [each for each in addresses if not endpoint.allow_private and not is_public(each)]
        if inside or not addresses:
            raise NotAsked("the host has an address that is not public" if inside else "the host has no address")
        failed: OSError | None = None
        for address in reachable(addresses, MOST_ADDRESSES):
            try:
                status, told, _ = fetch(
                    endpoint.host,
                    address,
                    endpoint.port,
                    endpoint.target,
                    self._trusted,
                    body=body,
                    headers=headers,
                    seconds=SECONDS,
                )
                return status, told
            except OSError as error:
                failed = error
        raise failed or OSError("no address was asked")

    @cached_property
    def _trusted(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.endpoint.secure else None


def _asked_for(seconds: str) -> float:
    """Return the seconds of a header Retry-After, an hour at most. A date (RFC 9110, 10.2.3) is not read."""
    return min(float(seconds), 3600.0) if seconds.isascii() and seconds.isdigit() and len(seconds) < 8 else 0.0

"""SendGrid: a JSON list of events, signed by ECDSA over a timestamp and the body."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import MARK, Service, octets

from .dialect import Call, Dialect, Notification, moment, said

if TYPE_CHECKING or find_spec("cryptography"):  # the check of the configuration asks for the extra
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_KINDS = {
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "dropped": EventType.REJECTED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.UNSUBSCRIBED,
}


def _read(item: Mapping[str, Any]) -> Notification | None:
    if (kind := _KINDS.get(said(item, "event"))) is None:
        return None
    # A bounce of the type "blocked" is about the sender, whatever its status code.
    hard = HARD if said(item, "type") == "bounce" else SOFT
    comment = said(item, "reason") or said(item, "response")
    return Notification(
        kind,
        said(item, MARK),
        said(item, "sg_event_id"),
        moment(item.get("timestamp")),
        hard if kind == EventType.BOUNCED else "",
        comment,
    )


@lru_cache(8)
def _public(key: str) -> EllipticCurvePublicKey:
    found = load_der_public_key(octets(key))
    if not isinstance(found, EllipticCurvePublicKey):
        raise ValueError("not a key of ECDSA")
    return found


def _proves(call: Call, service: Service) -> bool:
    signature = base64.b64decode(call.headers.get(_SIGNATURE, ""), validate=True)
    signed = call.headers.get(_TIMESTAMP, "").encode() + call.body
    for key in service.keys:
        try:
            _public(key).verify(signature, signed, ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return True
    return False


SENDGRID = Dialect(_read, _proves)

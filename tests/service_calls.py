"""Services that call, as they sign and spell it; the samples are invented."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from hmac import digest
from typing import Any
from urllib.parse import urlencode

from conftest import BASE_URL, Site
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from werkzeug.test import TestResponse

SECRET = "a-secret-of-the-address"
KEY = "a key that signs"
WHSEC = "whsec_" + base64.b64encode(b"thirty-two octets, more or less.").decode()
SENDGRID = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(SENDGRID.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
KEYS = {"mailgun": KEY, "mandrill": KEY, "sendcloud": KEY, "resend": WHSEC, "sendgrid": PUBLIC}
JSON = "application/json"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:mail"


def services(*names: str) -> dict[str, dict[str, Any]]:
    """The setting for *names*."""
    more: dict[str, dict[str, Any]] = {name: {"key": key} for name, key in KEYS.items()} | {"ses": {"topics": [TOPIC]}}
    return {name: {"secret": SECRET} | more.get(name, {}) for name in names}


def address(service: str) -> str:
    """The path that a service is given."""
    return f"/m/in/{service}/{SECRET}"


def by_hmac(timestamp: str, token: str) -> str:
    """Sign as Mailgun and SendCloud do."""
    return digest(KEY.encode(), (timestamp + token).encode(), "sha256").hex()


def signed(service: str, told: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a call in which *service* tells *told*."""
    if service == "mailgun":
        proof = {"timestamp": "1795766400", "token": "t" * 50, "signature": by_hmac("1795766400", "t" * 50)}
        told = {"signature": proof, "event-data": told}
    if service == "ses":
        envelope = {"Type": "Notification", "MessageId": "5a", "TopicArn": TOPIC, "Message": json.dumps(told)}
        return json.dumps(envelope).encode(), {"Content-Type": "text/plain; charset=UTF-8"}
    if service == "sendcloud":
        told = told | {"token": "t" * 50, "signature": by_hmac(str(told["timestamp"]), "t" * 50)}
        return urlencode(told).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    if service == "mandrill":
        events = json.dumps(told)
        url = f"{BASE_URL}{address('mandrill')}"
        proof = base64.b64encode(digest(KEY.encode(), f"{url}mandrill_events{events}".encode(), "sha1")).decode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "X-Mandrill-Signature": proof}
        return urlencode({"mandrill_events": events}).encode(), kind
    body = json.dumps(told).encode()
    return body, {"Content-Type": JSON, **PROOFS.get(service, lambda body: {})(body)}


def _by_ecdsa(body: bytes) -> dict[str, str]:
    signature = base64.b64encode(SENDGRID.sign(b"1795766400" + body, ec.ECDSA(SHA256()))).decode()
    name = "X-Twilio-Email-Event-Webhook"
    return {f"{name}-Signature": signature, f"{name}-Timestamp": "1795766400"}


def _by_svix(body: bytes, at: float | None = None) -> dict[str, str]:
    moment = str(int(time.time() if at is None else at))
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    proof = base64.b64encode(digest(key, b"msg_1." + moment.encode() + b"." + body, "sha256")).decode()
    return {"svix-id": "msg_1", "svix-timestamp": moment, "svix-signature": f"v1,AAAA v1,{proof}"}


PROOFS: Mapping[str, Any] = {"sendgrid": _by_ecdsa, "resend": _by_svix}


def call(site: Site, service: str, told: Any) -> TestResponse:
    """Let *service* call with the right secret and signature."""
    body, headers = signed(service, told)
    return site.client.post(address(service), data=body, headers=headers)


def bounce(service: str, copy: str, at: float) -> Any:
    """What *service* tells of a hard bounce of the copy at a moment, in seconds since 1970."""
    iso = time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z", time.gmtime(at))
    who, why, seconds = "ada@example.com", "550 5.1.1 No such user", int(at)
    by_service: dict[str, Any] = {
        "alidm": {
            **{"specversion": "1.0", "id": "8734", "source": "acs:dm", "type": "dm:Deliver:Fail", "time": iso},
            "data": {"rcpt": who, "failed_type": "SmtpNxBox", "err_msg": why, "header": {"x-mailtrack-copy": copy}},
        },
        "brevo": {
            **{"event": "hard_bounce", "email": who, "message-id": "<1@smtp>", "ts_epoch": seconds * 1000, "id": 5},
            **{"reason": why, "X-Mailin-custom": copy},
        },
        "mailgun": {
            **{"event": "failed", "severity": "permanent", "reason": "bounce", "id": "e1", "timestamp": seconds + 0.5},
            **{"recipient": who, "delivery-status": {"code": 550, "message": why}},
            "user-variables": {"mailtrack": copy},
        },
        "mailjet": [
            {
                **{"event": "bounce", "time": seconds, "MessageID": 19421777835146490, "email": who},
                **{"hard_bounce": True, "error": "user unknown", "comment": why, "CustomID": copy, "Payload": ""},
            }
        ],
        "mandrill": [
            {
                **{"event": "hard_bounce", "_id": "ab12", "ts": seconds},
                "msg": {"email": who, "diag": why, "metadata": {"mailtrack": copy}},
            }
        ],
        "postmark": {
            **{"RecordType": "Bounce", "ID": 42, "Type": "HardBounce", "TypeCode": 1, "MessageID": "0f0e"},
            **{"Email": who, "BouncedAt": iso, "Details": why, "Inactive": True, "Metadata": {"mailtrack": copy}},
        },
        "resend": {
            **{"type": "email.bounced", "created_at": iso},
            "data": {
                **{"email_id": "uuid", "to": [who], "headers": [{"name": "X-Mailtrack-Copy", "value": copy}]},
                "bounce": {"type": "Permanent", "subType": "General", "message": why},
            },
        },
        "sendcloud": {
            **{"event": "invalid", "recipient": who, "emailId": "17_8.sc0$ada@example.com", "message": why},
            **{"timestamp": seconds * 1000, "userHeaders": json.dumps({"SC-Custom-Mailtrack": copy})},
        },
        "sendgrid": [
            {
                **{"event": "bounce", "type": "bounce", "email": who, "timestamp": seconds, "sg_event_id": "q1"},
                **{"sg_message_id": "w1.f2", "status": "5.1.1", "reason": why, "mailtrack": copy},
            }
        ],
        "ses": {
            "eventType": "Bounce",
            "bounce": {
                **{"bounceType": "Permanent", "bounceSubType": "NoEmail", "timestamp": iso, "feedbackId": "f-1"},
                "bouncedRecipients": [{"emailAddress": who, "status": "5.1.1", "diagnosticCode": why}],
            },
            "mail": {"messageId": "0102", "headers": [{"name": "X-Mailtrack-Copy", "value": copy}]},
        },
        "sparkpost": [
            {
                "msys": {
                    "message_event": {
                        **{"type": "bounce", "bounce_class": "10", "event_id": "923", "timestamp": str(seconds)},
                        **{"raw_rcpt_to": who, "raw_reason": why, "rcpt_meta": {"mailtrack": copy}},
                    }
                }
            },
            {"msys": {}},
        ],
        "tencent": {
            **{"event": "bounce", "bounceType": "hard_bounce", "email": who, "bulkId": "qcloudses-30"},
            **{"messageId": "a.b@example.org", "timestamp": seconds, "reason": why},
            "X-Tencentcloudses-Cb-Custom": copy,
        },
    }
    return by_service[service]

"""SPF, DKIM and DMARC of a sender domain, asked of a real name server."""

from __future__ import annotations

from dns_server import name_server

from flask_mailtrack.administration.dns_records import Names
from flask_mailtrack.administration.mail_records import mail_records

GOOD = '@ IN TXT "v=spf1 -all"\nkey._domainkey IN TXT "v=DKIM1; p=x"\n_dmarc IN TXT "v=DMARC1; p=none"\n'
TWICE = '@ IN TXT "v=spf1 -all"\n@ IN TXT "v=spf1 ~all"\n'


def test_each_record_has_its_finding_and_cure() -> None:
    """Good, missing, doubled and unknown records are told apart, each with what to do."""
    with name_server() as server:
        server.serve({"good.test": GOOD, "bare.test": '@ IN TXT "hello"\n', "twice.test": TWICE, "broken.test": None})
        names = Names([server.address])
        found = {name: mail_records(names, f"{name}.test") for name in ("good", "bare", "twice", "broken")}
    levels = {name: [finding.level for finding in findings] for name, findings in found.items()}
    assert levels == {
        "good": ["ok", "ok", "ok"],
        "bare": ["warning", "warning", "warning"],
        "twice": ["error", "warning", "warning"],
        "broken": ["unknown", "unknown", "unknown"],
    }
    assert all(finding.cure for name in ("bare", "twice", "broken") for finding in found[name])

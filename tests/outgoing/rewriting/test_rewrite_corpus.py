"""Real mails: every promise of the rewriter, held against each document of the corpus."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from thorough import share

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.rewriting.rewrite import compile
from flask_mailtrack.outgoing.rewriting.scan import scan
from tests.outgoing.rewriting.html5_oracle import ADDED, assert_invariants, refuse

CORPUS = Path(os.environ.get("MAILTRACK_CORPUS") or Path(__file__).parents[4] / "shared" / "corpus")

pytestmark = pytest.mark.skipif(
    not (CORPUS / "MANIFEST.tsv").is_file(),
    reason="needs a folder of real mails with a MANIFEST.tsv; set MAILTRACK_CORPUS to its path",
)


@dataclass(frozen=True)
class Mail:
    """One document of the corpus."""

    path: str
    html: str


def corpus() -> list[Mail]:
    """Read a share of the documents, each with its own newlines."""
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [Mail(row["path"], (CORPUS / row["path"]).read_bytes().decode(row["charset"])) for row in share(rows)]


@pytest.mark.parametrize(("start", "attribute"), [(False, ""), (True, ADDED)], ids=["plain", "everything on"])
def test_real_mails_keep_every_promise(start: bool, attribute: str) -> None:
    """In each real mail only links and the pixel change; what cannot be proved is declined, and rarely."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for mail in corpus():
        try:
            template = assert_invariants(mail.html, start=start, attribute=attribute)
            outcomes["links" if template.links else "no links"] += 1
        except RewriteError as error:
            outcomes[error.reason] += 1
        except AssertionError as error:
            wrong.append(f"{mail.path}: {str(error).splitlines()[0] if str(error) else error!r}")
    assert wrong == []
    declined = outcomes["unverified"] + outcomes["empty"]
    assert declined <= max(1, sum(outcomes.values()) * 0.005), outcomes
    assert outcomes["links"] > 0


def test_amp_mails_are_tracked_without_a_pixel() -> None:
    """AMP mails keep their rules: their links are tracked, and no image is put in."""
    templates = [compile(mail.html, refuse=refuse) for mail in corpus() if scan(mail.html).amp]
    assert len(templates) > 0
    for template in templates:
        assert not template.pixel
        bodies = [template.render(["/"] * len(template.links), fill) for fill in ({}, {"start": "x", "end": "y"})]
        assert bodies[0] == bodies[1]

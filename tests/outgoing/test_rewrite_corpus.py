"""Real mails: every promise of the rewriter, held against each document of the corpus."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_mailtrack.errors import RewriteError
from tests.outgoing.html5_oracle import assert_invariants

CORPUS = Path(os.environ.get("MAILTRACK_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")

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
    """Read every document with its own newlines."""
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [Mail(row["path"], (CORPUS / row["path"]).read_bytes().decode(row["charset"])) for row in rows]


def test_real_mails_keep_every_promise() -> None:
    """In each real mail only links and the pixel change; what cannot be proved is declined, and rarely."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for mail in corpus():
        try:
            template = assert_invariants(mail.html)
            outcomes["links" if template.links else "no links"] += 1
        except RewriteError as error:
            outcomes[error.reason] += 1
        except AssertionError as error:
            wrong.append(f"{mail.path}: {str(error).splitlines()[0] if str(error) else error!r}")
    assert wrong == []
    declined = outcomes["unverified"] + outcomes["empty"]
    assert declined <= sum(outcomes.values()) * 0.005, outcomes
    assert outcomes["links"] > 0

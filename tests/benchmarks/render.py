"""How fast is one recipient? Ours against pytracking, on the same real mails in the same run.

Run by hand: ``python tests/benchmarks/render.py [CORPUS_DIR]``. Both sides track clicks and opens; ours
signs each link for each recipient, pytracking does not sign. pytracking parses the body again for every
recipient; ours is compiled once, and that cost is shown apart. Where every recipient has a body of their
own, there is nothing to compile once: "own body" is ours with compiling, checking and signing, each time.
There the links are the same for all, as in a newsletter that greets by name, and what was found out about
a link is remembered; in "own links" each ``href`` is new as well, so that nothing is.
The times are CPU time of this process, the best of some rounds in which both sides take turns.
"""

from __future__ import annotations

import csv
import os
import random
import re
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytracking import Configuration
from pytracking.html import adapt_html

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.rewriting.rewrite import Template, compile
from flask_mailtrack.tokens import LinkStamp, Signer

HOME = Path(__file__).parents[3] / "shared" / "corpus"
BASE = "https://mail.example.com/t"
ROUNDS = 15
LONG, SEVERAL = 34_000, 2
"""The second table is of mails with so many characters and distinct links, or more: about 46 KB and 15 links."""
SIGNER = Signer(["x" * 32])
_ADDRESS = re.compile(r"href=[\"']?https?://", re.IGNORECASE)
PYTRACKING = Configuration(
    base_open_tracking_url=f"{BASE}/o/", base_click_tracking_url=f"{BASE}/c/", include_webhook_url=False
)


@dataclass(frozen=True)
class Mail:
    """One real mail, with what is prepared once for all recipients."""

    html: str
    template: Template
    stamps: list[LinkStamp]

    def ready(self) -> list[str]:
        """Make tracked URLs, so that rendering can be measured alone."""
        tokens = SIGNER.message(uuid.uuid4())
        return [f"{BASE}/c/{tokens.click(stamp)}" for stamp in self.stamps]


def refuse(url: str) -> str | None:
    """Track what pytracking tracks."""
    return None if url.startswith(("http://", "https://", "//")) else "not_http"


def load(folder: Path) -> list[Mail]:
    """Read the mails of 30 to 80 KB that have a link and can be handled by both."""
    with (folder / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    mails = []
    for row in rows:
        if 30_000 <= int(row["bytes"]) <= 80_000 and int(row["http_href"]):
            html = (folder / row["path"]).read_bytes().decode(row["charset"])
            try:
                template = compile(html, refuse=refuse)
                adapt_html(html, {}, configuration=PYTRACKING)
            except (RewriteError, AttributeError, ValueError) as error:
                print(f"left out: {row['path']}: {error}")
                continue
            if template.links:
                stamps = [SIGNER.stamp(k, link.url, link.name) for k, link in enumerate(template.links)]
                mails.append(Mail(html, template, stamps))
    return mails


def signed(mail: Mail) -> str:
    """Do all that one recipient costs: tokens for each link and for the pixel, and the body."""
    tokens = SIGNER.message(uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF))
    urls = tokens.clicks(f"{BASE}/c/", mail.stamps)
    pixel = f'<img src="{BASE}/o/{tokens.open()}" alt="" width="1" height="1">'
    return mail.template.render(urls, {"end": pixel})


def own_body(html: str) -> str:
    """Do all that one recipient costs whose body nobody else gets."""
    template = compile(html, refuse=refuse)
    stamps = [SIGNER.stamp(k, link.url, link.name) for k, link in enumerate(template.links)]
    return signed(Mail(html, template, stamps))


def personal(html: str) -> str:
    """Make a body that is nobody else's, so that no cache can help."""
    return f"{html}<!-- {uuid.uuid4()} -->"


def with_own_links(html: str) -> str:
    """Make a body in which each address is nobody else's either."""
    return _ADDRESS.sub(rf"\g<0>{uuid.uuid4().hex[:8]}.", html)


def pytracking(mail: Mail) -> str:
    """Do the same with pytracking."""
    text: str = adapt_html(mail.html, {"recipient": 1}, configuration=PYTRACKING)
    return text


def microseconds(work: Callable[[], object], repeat: int) -> float:
    """Time one call, in microseconds of CPU time."""
    start = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - start) / repeat * 1e6


def measure(mails: list[Mail]) -> dict[str, list[float]]:
    """Time every side on every mail, in random order, and keep the best of some rounds."""
    best: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        for k in random.sample(range(len(mails)), len(mails)):
            mail, urls = mails[k], mails[k].ready()
            bodies = [with_own_links(mail.html) for _ in range(2)]
            sides: list[tuple[str, Callable[[], object], int]] = [
                ("ready URLs", lambda: mail.template.render(urls, {"end": "<img>"}), 200),  # noqa: B023
                ("signed", lambda: signed(mail), 50),  # noqa: B023
                ("pytracking", lambda: pytracking(mail), 3),  # noqa: B023
                ("own body", lambda: own_body(personal(mail.html)), 2),  # noqa: B023
                ("own links", lambda: own_body(bodies.pop()), len(bodies)),  # noqa: B023
                ("compile", lambda: compile(mail.html, refuse=refuse), 2),  # noqa: B023
            ]
            for name, work, repeat in random.sample(sides, len(sides)):
                best[name, k] = min(best.get((name, k), float("inf")), microseconds(work, repeat))
    return {name: [best[name, k] for k in range(len(mails))] for name, _ in best}


def report(mails: list[Mail], times: dict[str, list[float]]) -> None:
    """Print the comparison over some mails."""
    sizes = [len(mail.html) for mail in mails]
    links = [len(mail.stamps) for mail in mails]
    size, count = statistics.mean(sizes) / 1000, statistics.mean(links)
    print(f"{len(mails)} mails, mean {size:.1f} KB, mean {count:.1f} links")
    for name in ("ready URLs", "signed", "own body", "own links", "pytracking"):
        print(f"{name:>11}: {statistics.mean(times[name]):8.1f} µs per recipient")
    for name in ("ready URLs", "signed", "own body", "own links"):
        ratios = [theirs / ours for ours, theirs in zip(times[name], times["pytracking"], strict=True)]
        total = sum(times["pytracking"]) / sum(times[name])
        middle, least = statistics.median(ratios), min(ratios)
        print(f"{name:>11}: {total:.3g}x faster in total, median {middle:.3g}x, min {least:.3g}x")
    for name in ("own body", "own links"):
        print(f"{name:>11}: {sum(times[name]) / sum(times['pytracking']):.3f} of pytracking's time")
    print(f"    compile: {sum(times['compile']) / sum(sizes) * 50:.2f} ms per 50 KB, once per body")


def main(folder: Path) -> None:
    """Print the comparison over all mails, and over the long ones with several links."""
    mails = load(folder)
    times = measure(mails)
    report(mails, times)
    chosen = [k for k, mail in enumerate(mails) if len(mail.html) >= LONG and len(mail.stamps) >= SEVERAL]
    report([mails[k] for k in chosen], {name: [taken[k] for k in chosen] for name, taken in times.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MAILTRACK_CORPUS") or HOME))

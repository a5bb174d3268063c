"""Does the time to prepare a body grow with its length alone, whatever is in it?

Run by hand: ``python tests/benchmarks/adversarial.py [BYTES]``. Each pattern is repeated to fill BYTES
(default: 5 MB) and half of it; of three parts between bars, only the middle one is repeated. Where the
time more than doubles, by more than noise explains, it is measured again, what is quick more often. The
exit code says whether all of them stayed below the bound.
"""

from __future__ import annotations

import gc
import sys
import time

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.rewriting.rewrite import Limits, compile

BOUND = 2.5
TRIES = 40
TRIES_IF_SLOW = 9
QUICK = 0.2
LARGEST = 5_000_000
_LIMITS = Limits(max_bytes=10 * LARGEST, max_links=LARGEST, max_seconds=600)
_LINK = "<a href='https://x.test/'>"

PATTERNS = (
    # Tags and attributes that never end.
    *("<", "<a", "<a ", "<a b ", "<a =", "<a/", "<a href=", "<a href='", '<a href="', "<a b=c ", "<p b='", "<p b=\"'"),
    *("<v:a ", "</a ", "</", "=", "'", '"', ">", "<p " + 50 * " ", "<p a=1 ", '<p a="1" ', "<td"),
    # Comments, declarations, conditions.
    *("<!", "<!-", "<!--", "<!-- -->", "<!-->", "--!", "--", "<?", "<![CDATA[", "<!--[if ", "<!--[if a]>"),
    *("<!--[if a]>-->", "<!--[if a]><a href=h>-->", "<!--[if a]><v:a href='https://x.test/'>-->", "<![if a]>"),
    # Text that only looks like tags.
    *("<title>", "</title", "<title></title>", "<style>", "<style></style>", "<script>", "<script></script>"),
    *("<script><!--", "<script><!--<script>", "<plaintext>", "<textarea></textarea>", "<xmp></xmp>"),
    # Characters.
    *("&", "&a", "&#1", "&amp", "&amp;", "&notit;", "x", "\n", " ", "\0", "é", "😀", "\ud800"),
    # Structure.
    *("<p>", "<p>x", "<b>", "<b><p>", "</p>", "<br>", "<table>", "<td>x", "<select>", "<svg>", "<template>"),
    *("<body>", "</body>", "<html>", "</html>", "<head>", "</head>", "<meta>", "<link>", "<html></html>"),
    # Links.
    *(_LINK, f"{_LINK}x</a>", f"{_LINK}<b>", f"{_LINK}<!--", f"{_LINK}<b '", f"{_LINK}&", f"{_LINK}<img alt=x>"),
    *("<a href=https://x.test/>", "<a href='https://x.test/?a&amp;b'>", "<a href=x data-mailtrack>", "<a></a>"),
    *("<a href='https://x.test/' data-mailtrack-name=n>x</a>", "<v:a href='https://x.test/'>", "<area href=https://x>"),
    "<a href='https://x.test/' clicktracking=on>",
    # Comments and declarations, swallowed or not.
    *(
        "<!-- -",
        "<!--a-->",
        "<!-- <a",
        "<!-- <a> -->",
        "<!-- <b> -- -->",
        "<!--|-|",
        "<!--|<b|",
        "<!x",
        "<!x>",
        "</ x>",
    ),
    *("<?x>", "<!--[if a]>|<a href=h>|-->", "<!--[if a]>|<b><!--|-->", "<!--[if a]>|<v:x |-->"),
    # One tag, one value, one text.
    *(
        '<a |b="c" |>x',
        '<a |href="c" |>x',
        "<a |b=c |>x",
        "<a |class='c' |>x",
        "<a b='|\"|'>x",
        '<p |b="c" |>x',
        "<p |b |>x",
    ),
    *("<a href='https://x.test/|&a|'>x", "<a href='https://x.test/|&amp;|'>x", "<a href='https://x.test/|&AMP;|'>x"),
    *(
        "<a href='https://x.test/|\n|'>x",
        "<a href='https://x.test/'>|<b>|",
        "<a href='https://x.test/'>|<img alt='x' |>",
    ),
    *("<a href='https://x.test/'>|<!--|", "</a |b='c' |>", "<v:x |b='c' |/>", "<body |b='c' |>", "<html |b='c' |>"),
)


def refuse(url: str) -> str | None:
    """Track everything that is http."""
    return None if url.startswith("http") else "not_http"


def seconds(html: str) -> float:
    """Time one body with all options on, in CPU time of this process, without the cycle collector's.

    Its full runs come each time there is a quarter more to look at: over all sizes that is linear too, but between two
    sizes there may be one more of them, or none. ``timeit`` leaves it out for the same reason.
    """
    gc.collect()
    gc.disable()
    start = time.process_time()
    try:
        compile(html, refuse=refuse, refuse_text=lambda url, text: None, limits=_LIMITS, start=True, attribute="x=y ")
    except RewriteError as error:
        if error.reason == "too_slow":
            raise
    finally:
        took = time.process_time() - start
        gc.enable()
    return took


def growth(pattern: str, size: int) -> tuple[float, float]:
    """Return what :func:`ratio` does; above the bound, of that size or of twice that size, whichever grew less.

    Where the objects of a body begin to outgrow a cache there is a step, once; what is worse than linear grows so at
    each size.
    """
    found = ratio(pattern, size)
    return found if found[0] <= BOUND else min(found, ratio(pattern, 2 * size))


def ratio(pattern: str, size: int) -> tuple[float, float]:
    """Return how many times longer a body twice as long takes, and what the longer one takes."""
    before, repeated, after = pattern.split("|") if "|" in pattern else ("", pattern, "")
    times = size // len(repeated)
    short, long = (f"<p>x</p>{before}{repeated * count}{after}" for count in (times // 2, times))
    least = [float("inf"), float("inf")]
    for tries in range(TRIES):
        least = [min(best, seconds(html)) for best, html in zip(least, (short, long), strict=True)]
        if least[1] <= 2.2 * least[0] or (tries >= TRIES_IF_SLOW and least[1] > QUICK):
            break
    return least[1] / least[0], least[1]


def main(size: int) -> int:
    """Print each pattern, then the worst."""
    worst = (0.0, "")
    for pattern in PATTERNS:
        grown, took = growth(pattern, size)
        worst = max(worst, (grown, pattern))
        print(f"{grown:5.2f}x  {took:6.2f} s  {pattern!r}", flush=True)
    print(f"{len(PATTERNS)} patterns of {size:,} characters, worst {worst[0]:.2f}x: {worst[1]!r}")
    return int(worst[0] > BOUND)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGEST))

"""Twenty HTML mails as different as we can make them, each with the links that a browser sees in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One body: its links in document order, and those that only Outlook follows."""

    name: str
    html: str
    links: tuple[str, ...]
    outlook: tuple[str, ...] = ()


_SPACERS = "&zwnj;&nbsp;&#847;" * 40

DOCUMENTS = (
    Document(
        "a complete page",
        "<!DOCTYPE html>\n<html><head><meta charset=utf-8><title>Hi</title></head>"
        '<body><p>Hello</p><a href="https://example.com/a">one</a></body></html>\n',
        ("https://example.com/a",),
    ),
    Document(
        "mso conditionals around a table",
        '<html><body><!--[if mso]><table width="600"><tr><td><![endif]-->'
        '<a href="https://example.com/mso">x</a><!--[if mso]></td></tr></table><![endif]--></body></html>',
        ("https://example.com/mso",),
    ),
    Document(
        "a bulletproof button in VML",
        '<html xmlns:v="urn:schemas-microsoft-com:vml"><body><!--[if mso]>'
        '<v:roundrect href="https://example.com/shop?a=1&amp;b=2" style="height:40px"><w:anchorlock/>'
        "<center>Shop</center></v:roundrect><![endif]--><!--[if !mso]><!-->"
        '<a href="https://example.com/shop?a=1&amp;b=2">Shop</a><!--<![endif]--></body></html>',
        ("https://example.com/shop?a=1&b=2",),
        ("https://example.com/shop?a=1&b=2",),
    ),
    Document(
        "a revealed conditional",
        '<body><![if !mso]><a href="https://example.com/revealed">x</a><![endif]></body>',
        ("https://example.com/revealed",),
    ),
    Document(
        "XHTML with an XML declaration",
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n<html xmlns="http://www.w3.org/1999/xhtml">'
        '<body><br /><img src="https://example.com/i.png" alt="" /><a href="https://example.com/x">x</a></body></html>',
        ("https://example.com/x",),
    ),
    Document("no body", '<html><a href="https://example.com/nobody">x</a></html>', ("https://example.com/nobody",)),
    Document("a fragment", '<p>Hi <a href="https://example.com/f">you</a></p>', ("https://example.com/f",)),
    Document(
        "two top-level elements", '<p>a</p><p><a href="http://example.com/2">b</a></p>', ("http://example.com/2",)
    ),
    Document(
        "two bodies and two pages",
        '<html><body><a href="https://example.com/1">1</a></body></html>'
        '<html><body><a href="https://example.com/2">2</a></body></html>',
        ("https://example.com/1", "https://example.com/2"),
    ),
    Document(
        "entities and what only looks like them",
        '<a href="https://example.com/?a=1&amp;b=2">1</a><a href="https://example.com/?a=1&copy=2&reg=eu&lt=3">2</a>'
        '<a href="https://example.com/?x=1&#38;y=2&#x26;z=3">3</a>',
        (
            "https://example.com/?a=1&b=2",
            "https://example.com/?a=1&copy=2&reg=eu&lt=3",
            "https://example.com/?x=1&y=2&z=3",
        ),
    ),
    Document(
        "quotes of every kind",
        "<a href='https://example.com/single?q=\"'>1</a><a href=https://example.com/none>2</a>"
        '<a href = "https://example.com/it\'s">3</a><a title="a>b" href=\'https://example.com/gt\'>4</a>',
        (
            'https://example.com/single?q="',
            "https://example.com/none",
            "https://example.com/it's",
            "https://example.com/gt",
        ),
    ),
    Document(
        "upper case",
        '<HTML><BODY><A CLASS=X HREF="HTTPS://EXAMPLE.COM/Upper">UP</A></BODY></HTML>',
        ("HTTPS://EXAMPLE.COM/Upper",),
    ),
    Document(
        "template leftovers",
        '<p>{{ name }} <a href="https://example.com/{{ id }}">left alone</a> *|FNAME|* <% x %>'
        '<a href="https://example.com/ok">tracked</a></p>',
        ("https://example.com/ok",),
    ),
    Document(
        "preheader spacers",
        f'<body><div style="display:none">Preview{_SPACERS}</div><a href="https://example.com/pre">x</a></body>',
        ("https://example.com/pre",),
    ),
    Document(
        "CRLF throughout",
        '<html>\r\n<body>\r\n<a\r\n href="https://example.com/crlf"\r\n>x</a>\r\n</body>\r\n</html>\r\n',
        ("https://example.com/crlf",),
    ),
    Document(
        "emoji and other scripts",
        '<p>🎉 Ünïcödé <a href="https://example.com/straße?q=日本#übung">日本語</a> 👩‍👩‍👧</p>',
        ("https://example.com/straße?q=日本#übung",),
    ),
    Document(
        "right to left",
        '<html dir="rtl" lang="ar"><body><p>مرحبا <a href="https://example.com/ar">اضغط هنا</a></p></body></html>',
        ("https://example.com/ar",),
    ),
    Document(
        "an image map and what is no link",
        '<head><link href="https://example.com/style.css" rel=stylesheet></head><map name=m>'
        '<area href="https://example.com/area" shape=rect coords="0,0,1,1"></map>'
        '<a href="mailto:a@example.com">m</a><a href="tel:+1">t</a><a href="#top">#</a><a href="/relative">r</a>',
        ("https://example.com/area",),
    ),
    Document(
        "one line of 4,000 characters",
        "<body><p>" + "lorem ipsum " * 340 + '<a href="https://example.com/long">x</a></p></body>',
        ("https://example.com/long",),
    ),
    Document(
        "decoys in comments, styles and attributes",
        '<style>a{background:url(https://example.com/css)}</style><!-- <a href="https://example.com/old">x</a> -->'
        '<textarea><a href="https://example.com/text"></textarea><img alt="<a href=\'https://example.com/alt\'>">'
        '<a href=" https://example.com/real\n">x</a><a data-mailtrack="off" href="https://example.com/off">y</a>',
        ("https://example.com/real",),
    ),
    Document(
        "a link without a slash, with every legal sign",
        '<a href="https://example.com?x=1">1</a><a href="https://example.com/~a,b;c@d!e$f*(g)+h:i=j&k?l">2</a>'
        '<a href="https://example.com:8443/%7Euser/%E2%82%AC?q=%20#frag?x">3</a>',
        (
            "https://example.com?x=1",
            "https://example.com/~a,b;c@d!e$f*(g)+h:i=j&k?l",
            "https://example.com:8443/%7Euser/%E2%82%AC?q=%20#frag?x",
        ),
    ),
)

"""What `cachegate warm` reads of sitemaps, and which it refuses."""

import gzip

import pytest

from proxy.cli.sitemap import FILES, LARGEST, Named, Unfit, named_in, site_urls

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str, more: str = "", xmlns: str = XMLNS) -> bytes:
    locs = "".join(f"<url><loc>\n {url} </loc><lastmod>2024-01-01</lastmod></url>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{more}<urlset {xmlns}>{locs}</urlset>'.encode()


def index(*places: str) -> bytes:
    locs = "".join(f"<sitemap><loc>{place}</loc></sitemap>" for place in places)
    return f"<sitemapindex {XMLNS}>{locs}</sitemapindex>".encode()


URLS = ("https://a.example/", "https://a.example/b?x=1&amp;y=2")
FOUND = ("https://a.example/", "https://a.example/b?x=1&y=2")
IMAGE = '<url xmlns:i="http://www.google.com/schemas/sitemap-image/1.1"><i:image><i:loc>http://x/i.png</i:loc></i:image></url>'


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        pytest.param(urlset(*URLS), Named(urls=FOUND), id="plain"),
        pytest.param(urlset(*URLS, xmlns=""), Named(urls=FOUND), id="of no namespace"),
        pytest.param(gzip.compress(urlset(*URLS)), Named(urls=FOUND), id="gzip"),
        pytest.param(index("https://a.example/1.xml"), Named(sitemaps=("https://a.example/1.xml",)), id="an index"),
        pytest.param(urlset(), Named(), id="empty"),
        pytest.param(urlset("<![CDATA[http://a.example/?a&b]]>"), Named(urls=("http://a.example/?a&b",)), id="cdata"),
        pytest.param(urlset().replace(b"</urlset>", IMAGE.encode() + b"</urlset>"), Named(), id="images are no pages"),
    ],
)
def test_what_it_names(raw: bytes, named: Named) -> None:
    assert named_in(raw) == named


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        pytest.param(urlset("&b;", more=LAUGHS), "document type", id="entities"),
        pytest.param(urlset("&a;", more=OUTSIDE), "document type", id="a file of ours"),
        pytest.param(b"", "no XML", id="empty"),
        pytest.param(b"<html><body/></html>", "begins with <html>", id="a page"),
        pytest.param(b"{}", "no XML", id="no XML"),
        pytest.param(urlset(*URLS)[:-20], "no XML", id="cut off"),
        pytest.param(gzip.compress(urlset(*URLS))[:-12], "too early", id="gzip that is cut off"),
        pytest.param(b"\x1f\x8bxxxxxxxxxxxx", "damaged gzip", id="gzip that is none"),
        pytest.param(gzip.compress(b"<urlset>" + b" " * LARGEST), "larger than", id="a bomb"),
        pytest.param(urlset("javascript:alert(1)"), "is no URL", id="no web address"),
        pytest.param(urlset("/relative"), "is no URL", id="relative"),
        pytest.param(urlset("https://a.example/" + "a" * 5000), "more than 2048", id="endless"),
        pytest.param(b"<a>" * 100, "too deep", id="deep"),
    ],
)
def test_what_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        named_in(raw)


def test_of_an_index_each_sitemap_of_the_same_site() -> None:
    files = {
        "https://a.example/sitemap.xml": index("https://a.example/1.xml", "https://b.example/2.xml"),
        "https://a.example/1.xml": urlset("https://a.example/1", "https://evil.example/1", "https://a.example/2"),
    }
    found = site_urls("https://a.example/sitemap.xml", None, files.__getitem__, 10)
    assert (found.urls, found.elsewhere, found.beyond) == (("https://a.example/1", "https://a.example/2"), 2, 0)


def test_no_more_than_so_many() -> None:
    files = {"/s.xml": urlset(*(f"https://a.example/{n}" for n in range(10)))}
    found = site_urls("/s.xml", None, files.__getitem__, 4)
    assert (len(found.urls), found.beyond) == (4, 6)
    assert site_urls("/s.xml", "b.example", files.__getitem__, 4).elsewhere == 10


def test_an_index_goes_no_deeper_and_has_a_bound() -> None:
    deep = {"https://a/1": index("https://a/2"), "https://a/2": index("https://a/3")}
    with pytest.raises(Unfit, match="https://a/2: an index in an index"):
        site_urls("https://a/1", None, deep.__getitem__, 10)
    wide = {"https://a/1": index(*(f"https://a/{n}" for n in range(FILES + 1)))}
    with pytest.raises(Unfit, match="1001 sitemaps"):
        site_urls("https://a/1", None, wide.__getitem__, 10)

"""The URLs of a site by its sitemap (sitemaps.org, protocol 0.9): XML, gzip or not, or an index of several.

What a stranger's file can do here is bounded: its size, how many URLs and files it names, and of which site. A document
type is refused, and with it every entity that a document could declare.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.parsers import expat

from yarl import URL

LARGEST = 50 << 20  # bytes of one file, unpacked: the protocol's own bound
FILES = 1000  # that an index may name
LONGEST = 2048  # characters of a URL, the protocol's bound too
_STEP = 1 << 16
_GZIP = b"\x1f\x8b"

Read = Callable[[str], bytes]


class Unfit(ValueError):
    """This is no sitemap, or none that is taken here; the text says why."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a sitemap names; of an index, other sitemaps."""

    urls: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """The URLs of one site, each once; how many were left out: another site's, or beyond the bound."""

    urls: tuple[str, ...]
    elsewhere: int
    beyond: int


def site_urls(place: str, site: str | None, read: Read, most: int) -> Site:
    """At most so many URLs of the sitemap at `place`, and of those that it names. `site` is the host (and port) that
    they have to be of; None: the first one's. Unfit says which file is not taken, and why."""
    first = _named(place, read)
    own: dict[str, None] = {}
    elsewhere = beyond = 0
    if len(first.sitemaps) > FILES:
        raise Unfit(f"{place}: it names {len(first.sitemaps)} sitemaps, {FILES} are read")
    for named in _each(place, first, site, read):
        if named is None:
            elsewhere += 1
            continue
        for url in named.urls:
            site = site or URL(url).host_port_subcomponent
            if URL(url).host_port_subcomponent != site:
                elsewhere += 1
            elif len(own) < most or url in own:
                own[url] = None
            else:
                beyond += 1
    return Site(tuple(own), elsewhere, beyond)


def _each(place: str, first: Named, site: str | None, read: Read) -> Iterator[Named | None]:
    """The sitemap, or each that the index names; None for one of another site."""
    yield Named(first.urls)
    site = site or URL(place).host_port_subcomponent
    for other in first.sitemaps:
        if site is not None and URL(other).host_port_subcomponent != site:
            yield None
            continue
        named = _named(other, read)
        if named.sitemaps:
            raise Unfit(f"{other}: an index in an index")
        yield named


def _named(place: str, read: Read) -> Named:
    try:
        return named_in(read(place))
    except Unfit as error:
        raise Unfit(f"{place}: {error}") from None


def named_in(raw: bytes) -> Named:
    """What one file names. Unfit."""
    reading = _Reading()
    try:
        for part in _unpacked(raw):
            reading.parser.Parse(part, False)
        reading.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Unfit(f"no XML: {error}") from None
    except zlib.error as error:
        raise Unfit(f"damaged gzip: {error}") from None
    if reading.root not in ("urlset", "sitemapindex"):
        raise Unfit(f"no sitemap: it begins with <{reading.root}>")
    found = tuple(reading.found)
    return Named(urls=found) if reading.root == "urlset" else Named(sitemaps=found)


def _unpacked(raw: bytes) -> Iterator[bytes]:
    """In parts, at most LARGEST bytes together."""
    zipped = raw.startswith(_GZIP)
    unpack = zlib.decompressobj(wbits=31) if zipped else None
    size = 0
    while raw:
        if unpack is None:
            part, raw = raw[:_STEP], raw[_STEP:]
        else:
            part, raw = unpack.decompress(raw, _STEP), unpack.unconsumed_tail
        size += len(part)
        if size > LARGEST:
            raise Unfit(f"larger than {LARGEST >> 20} MiB")
        yield part
    if unpack is not None and not unpack.eof:
        raise Unfit("the gzip data ends too early")


class _Reading:
    """Gathers the <loc> of each <url> or <sitemap>, in whatever namespace: many files have none."""

    def __init__(self) -> None:
        self.root = ""
        self.found: list[str] = []
        self._path: list[str] = []
        self._text: list[str] | None = None
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartDoctypeDeclHandler = _no_doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._said

    def _start(self, name: str, _: object) -> None:
        self._path.append(name.rpartition(" ")[2])
        self.root = self.root or self._path[0]
        if len(self._path) > 64:
            raise Unfit("elements within elements, too deep")
        if self._path in (["urlset", "url", "loc"], ["sitemapindex", "sitemap", "loc"]):
            self._text = []

    def _said(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)
            if len(self._text) > LONGEST or sum(map(len, self._text)) > 2 * LONGEST:
                raise Unfit(f"a <loc> of more than {LONGEST} characters")

    def _end(self, _: str) -> None:
        self._path.pop()
        if self._text is not None:
            self.found.append(_checked("".join(self._text).strip()))
            self._text = None


def _no_doctype(*_: object) -> None:
    raise Unfit("it has a document type, which no sitemap needs")


def _checked(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or len(text) > LONGEST:
        raise Unfit(f"{text[:80]!r} is no URL")
    return text

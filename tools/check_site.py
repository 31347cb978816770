"""Check the built site: it is whole, asks no other host for anything, and its pictures are fit.

Usage: ``check_site.py SITE SOURCES [PAGE ...]``: the folder that Sphinx wrote, the one that it
read, and Markdown pages beside it that show pictures of the sources, too. Every local link leads
to a page or file of the site, and to a place on it if it names one; every picture has a text that
describes it; each picture of the sources is on some page, and none is so large that a page is
slow to load.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LARGEST_PICTURE, LARGEST_PAGE = 1_700_000, 4_000_000  # bytes; a page's with all its pictures
PICTURES = {".png", ".gif", ".svg", ".jpg", ".webp"}
# What a browser loads with a page, by element and attribute.
LOADED = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("img", "src"), ("link", "href"),
    ("script", "src"), ("source", "src"), ("source", "srcset"), ("video", "poster"),
    ("video", "src"),
}  # fmt: skip
NOT_LOADED = {"author", "canonical", "copyright", "index", "next", "prev", "search"}  # of a link
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")
STYLE_LOADS = re.compile(r"(?:url\(\s*|@import\s+)[\"']?([^\"')\s]+)")


@dataclass(slots=True)
class Page(HTMLParser):
    """What a page links to, loads and shows.

    Parameters
    ----------
    path
        Its file.
    """

    path: Path
    places: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    wordless: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)
        text = self.path.read_text(encoding="utf-8")
        self.feed(text)
        self.loads += STYLE_LOADS.findall("".join(re.findall(r"(?s)<style.*?</style>", text)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, loads or shows."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and not values.get("alt", "").strip():
            self.wordless.append(values.get("src", ""))
        if tag == "link" and set(values.get("rel", "").split()) & NOT_LOADED:
            return
        self.loads += [values[name] for name in values if (tag, name) in LOADED]


def main(arguments: list[str]) -> int:
    """Check a site and return the number of problems, at most 1."""
    if len(arguments) < 2 or not Path(arguments[0], "index.html").exists():
        raise SystemExit(f"expected a built site and the folder of its pages, got {arguments}")
    site, sources, *beside = (Path(one).resolve() for one in arguments)
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    problems = [
        f"{page.path.relative_to(site)}: {problem}"
        for page in pages.values()
        for problem in (*wrong_links(page, pages), *wrong_loads(page), *wrong_pictures(page))
    ]
    problems += wrong_styles(site)
    shown = {Path(unquote(name)).name for page in pages.values() for name in page.loads}
    for path in beside:
        shown |= {Path(name).name for name in PICTURE.findall(path.read_text(encoding="utf-8"))}
    problems += unused_pictures(sources, shown)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages of the site checked, {len(problems)} problems")
    return min(len(problems), 1)


def wrong_links(page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield a line for each local link that leads nowhere."""
    for link in page.links:
        if is_elsewhere(link):
            continue
        name, place = urldefrag(link)
        target = page.path if not name else target_of(page.path, name)
        if not target.is_file():
            yield f"the link {link} leads to no file"
        elif place and target in pages and unquote(place) not in pages[target].places:
            yield f"the link {link} leads to no place on its page"


def wrong_loads(page: Page) -> Iterator[str]:
    """Yield a line for each thing that a browser would ask another host for, or not find."""
    for name in page.loads:
        if name.startswith("data:"):
            continue
        if is_elsewhere(name):
            yield f"{name} would be loaded from another host"
        elif not target_of(page.path, name).is_file():
            yield f"{name} would be loaded and isn't there"


def wrong_pictures(page: Page) -> Iterator[str]:
    """Yield a line for each picture without words, and if the pictures weigh too much."""
    for name in page.wordless:
        yield f"the picture {name} has no text that says what it shows"
    files = {target_of(page.path, name) for name in page.loads if not is_elsewhere(name)}
    present = (file for file in files if file.suffix in PICTURES and file.is_file())
    pictures = {file: file.stat().st_size for file in present}
    for file, size in pictures.items():
        if size > LARGEST_PICTURE:
            yield f"{file.name} has {size:,} bytes, at most {LARGEST_PICTURE:,} are wanted"
    if (total := sum(pictures.values())) > LARGEST_PAGE:
        yield f"its pictures have {total:,} bytes, at most {LARGEST_PAGE:,} are wanted"


def wrong_styles(site: Path) -> Iterator[str]:
    """Yield a line for each thing that a style sheet would ask another host for."""
    for path in sorted(site.rglob("*.css")):
        for name in STYLE_LOADS.findall(path.read_text(encoding="utf-8")):
            if is_elsewhere(name) and not name.startswith("data:"):
                yield f"{path.relative_to(site)}: {name} would be loaded from another host"


def unused_pictures(sources: Path, shown: set[str]) -> Iterator[str]:
    """Yield a line for each picture beside the sources whose name is not among those shown."""
    for path in sorted(sources.rglob("*")):
        if path.suffix in PICTURES and path.name not in shown:
            yield f"{path.relative_to(sources)}: the picture is on no page"


def is_elsewhere(address: str) -> bool:
    """Whether an address names a scheme or a host."""
    parts = urlsplit(address)
    return bool(parts.scheme or parts.netloc)


def target_of(page: Path, name: str) -> Path:
    """Return the file that a relative address on a page names."""
    return (page.parent / unquote(urlsplit(name).path)).resolve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

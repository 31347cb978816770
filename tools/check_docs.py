"""Check the documentation: links lead somewhere, examples run, users' pages are short.

Usage: ``check_docs.py FILE_OR_FOLDER ...``. The ``python`` blocks of one page share their
names, in order, as a reader would type them; they run in an empty folder. A block that needs
something a test has not (a screen, a download) is preceded by ``<!-- not run: reason -->``.
"""

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_WORDS = 1500
LONG = {"trouble.md"}  # for reference
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
NOT_RUN = re.compile(r"<!--\s*not run:\s*\S.*-->")
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(\w*)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, text, first line number and whether it is to run."""

    language: str
    text: str
    line: int
    runs: bool


def main(arguments: list[str]) -> int:
    """Check every page and return the number of problems, at most 1."""
    pages = list(find_pages(arguments))
    problems = [problem for page in pages for problem in check_page(page)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages checked, {len(problems)} problems")
    return min(len(problems), 1)


def find_pages(arguments: list[str]) -> Iterator[Path]:
    """Yield each Markdown file among the arguments, folders searched through."""
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            yield from sorted(path.rglob("*.md"))
        elif path.is_file():
            yield path
        else:
            raise SystemExit(f"{path}: expected a Markdown file or a folder, found nothing there")


def check_page(page: Path) -> list[str]:
    """Return what is wrong with one page, a line each."""
    text = page.read_text(encoding="utf-8")
    prose, blocks = split_blocks(text)
    return [*check_length(page, text), *check_links(page, prose), *run_blocks(page, blocks)]


def check_length(page: Path, text: str) -> Iterator[str]:
    """Yield a line if a page for users has too many words."""
    is_for_users = (page.parent / "conf.py").exists() and page.name not in LONG
    if is_for_users and (count := len(text.split())) > MOST_WORDS:
        yield f"{page}: {count:,} words, at most {MOST_WORDS:,} are wanted; split or shorten it"


def split_blocks(text: str) -> tuple[list[str], list[Block]]:
    """Split a page into its prose lines (fenced ones blanked) and its fenced blocks."""
    prose: list[str] = []
    blocks: list[Block] = []
    fence, language, start, runs = "", "", 0, True
    body: list[str] = []
    before = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                blocks.append(Block(language, "\n".join(body), start, runs))
                fence = ""
            else:
                body.append(line)
            prose.append("")
        elif opened := FENCE.match(line):
            fence, language = opened[2], opened[3]
            body, start, runs = [], number + 1, not NOT_RUN.search(before)
            prose.append("")
        else:
            prose.append(line)
        before = line.strip() or before
    return prose, blocks


def check_links(page: Path, prose: list[str]) -> Iterator[str]:
    """Yield one line for each relative link whose file or heading does not exist."""
    for number, line in enumerate(prose, start=1):
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if ELSEWHERE.match(target):
                continue
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            if not file.exists():
                yield f"{page}:{number}: the link {target} leads to no file"
            elif heading and file.suffix == ".md" and heading not in headings(file):
                yield f"{page}:{number}: {file} has no heading #{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors that a page's headings get when it is rendered."""
    prose, _ = split_blocks(page.read_text(encoding="utf-8"))
    titles = (line.lstrip("#").strip() for line in prose if re.match(r"#{1,6}\s", line))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run_blocks(page: Path, blocks: list[Block]) -> Iterator[str]:
    """Run a page's Python blocks in order in an empty folder; yield the first failure."""
    names: dict[str, object] = {"__name__": "__main__"}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for block in blocks:
                if block.language in {"python", "py"} and block.runs:
                    # Blank lines in front make a traceback name the page's own line.
                    source = "\n" * (block.line - 1) + block.text
                    exec(compile(source, str(page), "exec"), names)
        except Exception:  # noqa: BLE001 - whatever an example raises is the finding
            yield f"{page}: an example failed\n{traceback.format_exc()}"
        finally:
            os.chdir(home)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

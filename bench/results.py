"""Where runs are kept: each by its date and commit, the last whole one as `latest`, which two pages quote."""

import json
from pathlib import Path

from bench.table import Run, data, markdown

PLACE = Path(__file__).parent / "results"
_ROOT = Path(__file__).parent.parent
PAGES = (_ROOT / "README.md", _ROOT / "docs" / "performance.md")
END = "<!-- the end of it -->"


def kept(run: Run, place: Path = PLACE, *, whole: bool) -> list[Path]:
    """Write it. A run of some cases alone is kept by its name only."""
    place.mkdir(exist_ok=True)
    names = [f"{run.when[:10]}-{run.commit}", *(["latest"] if whole else [])]
    written = []
    for name in names:
        for suffix, text in ((".json", json.dumps(data(run), indent=1) + "\n"), (".md", markdown(run))):
            path = place / f"{name}{suffix}"
            path.write_text(text)
            written.append(path)
    return written


def quoted(page: str, table: str, source: str = "bench/results/latest.md") -> str:
    """The page with this table in the place of what stands between the two marks. ValueError without them."""
    before, begin, rest = page.partition(f"<!-- {source} -->\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page wants the marks <!-- {source} --> and {END} around the table")
    return f"{before}{begin}\n{table}\n{end}{after}"

"""An sdist with the same bytes whenever it is made of the same files: sorted, of nobody's, at SOURCE_DATE_EPOCH.

python deploy/release/sdist.py made/cachegate-0.1.0.tar.gz dist
"""

import gzip
import os
import sys
import tarfile
from pathlib import Path


def repacked(source: Path, place: Path, epoch: int) -> Path:
    """The archive `source` again, in the directory `place`; `epoch` in seconds since 1970."""
    made = place / source.name
    with (
        tarfile.open(source) as old,
        made.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return made


if __name__ == "__main__":
    repacked(Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["SOURCE_DATE_EPOCH"]))

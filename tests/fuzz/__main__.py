"""Coverage-guided: `python -m tests.fuzz TARGET SECONDS CORPUS` (`make fuzz`). What is found lies beside the corpus."""

import sys
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("fuzz: atheris is not installed here: .venv/bin/pip install '.[fuzz]' (there is one for Linux on x86-64)")

atheris.enabled_hooks.add("str")  # what comparisons want is learned; its hook for patterns knows none of bytes
with atheris.instrument_imports(include=["proxy", "http_sf", "yaml"]):
    from tests.fuzz.every import TARGETS


def main(name: str, seconds: str, corpus: str) -> None:
    target = TARGETS.get(name)
    if target is None:
        sys.exit(f"fuzz: no target {name!r}; there are {', '.join(TARGETS)}")
    place = Path(corpus) / name
    place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (place / f"seed-{number:02}").write_bytes(seed)
    words = Path(corpus) / f"{name}.dict"
    words.write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens))
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-print_final_stats=1"]
    options += [f"-dict={words}", f"-artifact_prefix={corpus}/{name}-"]
    atheris.Setup(["fuzz", *options, str(place)], target)
    atheris.Fuzz()


def _quoted(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main(*sys.argv[1:])

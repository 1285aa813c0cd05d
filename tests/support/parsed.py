"""Source as a tree, for tests of how the project is written."""

import ast
import gc
from pathlib import Path


def parsed(path: Path) -> ast.Module:
    """Without the collector: what it ends may have a traceback to tell, which is parsed too, and Python 3.11 mistakes
    the one parser's depth for the other's (gh-106905)."""
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()

"""Modules and lines of each package below a folder: `python .ci/size.py [FOLDER]`.

Code are the lines that hold a token of Python; docstrings, comments and blank lines are not code.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import Counter
from pathlib import Path

SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


def code_lines(path: Path) -> int:
    """Lines of a module with code on them."""
    with tokenize.open(path) as file:
        tokens = tokenize.generate_tokens(file.readline)
        spans = [(t.start[0], t.end[0]) for t in tokens if t.type not in SILENT]
    docstrings = {
        line
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        # a string that is a statement: a docstring, or the sentence under a field
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return len({line for first, last in spans for line in range(first, last + 1)} - docstrings)


def main(folder: Path) -> None:
    """Print the table."""
    modules, lines, code = Counter[Path](), Counter[Path](), Counter[Path]()
    for path in sorted(folder.rglob("*.py")):
        package = path.parent.relative_to(folder.parent)
        modules[package] += path.name != "__init__.py"
        lines[package] += len(path.read_text(encoding="utf-8").splitlines())
        code[package] += code_lines(path)
    print(f"{'package':34}{'modules':>8}{'lines':>8}{'code':>8}")
    for package in sorted(lines):
        print(f"{package!s:34}{modules[package]:8}{lines[package]:8}{code[package]:8}")
    print(f"{'all':34}{modules.total():8}{lines.total():8}{code.total():8}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pipeline"))

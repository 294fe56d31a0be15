"""What a notebook holds: printed texts, numbers in them, exercises, sliders, names that it defines."""

from __future__ import annotations

import ast
import re

ROUNDING = 1e-7
"""Numbers below this are rounding errors: they may differ, and be written with other digits."""

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?(?![\w.]*\w)")


def printed(cell) -> str:
    """What a code cell printed and showed as text; pictures, widgets and stderr are left out."""
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data or any("widget" in kind for kind in data):
            continue
        if output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
        elif "text/plain" in data:
            texts.append(data["text/plain"] + "\n")
    return re.sub(r" at 0x[0-9a-f]+", "", "".join(texts))


def pictures(cell) -> int:
    """How many pictures a cell shows."""
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def skeleton(text: str) -> str:
    """A text with its numbers cut out and its spaces made one: what has to be the same to the letter."""
    return " ".join(NUMBER.sub(" # ", text).split())


def unlike(first: str, second: str) -> list[str]:
    """Numbers of two texts that differ by more than one in the last written digit; counts that differ at all."""
    found = []
    for a, b in zip(NUMBER.findall(first), NUMBER.findall(second), strict=True):
        x, y = float(a), float(b)
        counts = re.fullmatch(r"[-+]?\d+", a) and re.fullmatch(r"[-+]?\d+", b)
        allowed = 0.0 if counts else 1.001 * max(last_digit(a), last_digit(b))
        if abs(x - y) > allowed and max(abs(x), abs(y)) > ROUNDING:
            found.append(f"{a} and {b}")
    return found


def last_digit(number: str) -> float:
    """What one in the last written digit is worth: 0.01 in 3.14, 1e-05 in 1e-05."""
    mantissa, _, exponent = number.partition("e")
    digits = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - digits)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def exercises(notebook) -> list:
    return [cell for cell in code_cells(notebook) if "exercise" in cell.metadata.get("tags", [])]


def check_of(cell) -> str:
    """The call that checks an exercise, with what prepares it: all statements after the student's own."""
    statements = ast.parse(cell.source).body
    return "\n".join(ast.unparse(statement) for statement in statements[1:])


def student_name(cell) -> str:
    """The name that the student fills in: of the cell's first statement."""
    first = ast.parse(cell.source).body[0]
    return first.name if isinstance(first, ast.FunctionDef) else first.targets[0].id


def defined_names(notebook) -> set[str]:
    """Functions and classes that cells define, at any depth."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {
        node.name
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, kinds)
    }


def called_methods(notebook) -> set[str]:
    """Names of methods that cells call: x.plot(...) gives "plot"."""
    return {
        node.func.attr
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def imported_packages(notebook) -> set[str]:
    """The first part of what cells import."""
    found = set()
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    return found

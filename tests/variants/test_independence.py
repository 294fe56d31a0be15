"""Loss, pulls and claim are three independent statements: who imports what."""

import ast
from pathlib import Path

import pytest

import qtarget_inspect

PACKAGE = Path(qtarget_inspect.__file__).parent
LOSSES = sorted((PACKAGE / "losses").glob("*.py"))
VOCABULARY = sorted((PACKAGE / "vocabulary").glob("*.py"))
VARIANTS = sorted((PACKAGE / "variants").glob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules that a file imports, with the names it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_losses_compute_everything_themselves(path):
    allowed = (
        "math",
        "torch",
        "qtarget_inspect.losses.",
        "qtarget_inspect.core.numerics.",
        "qtarget_inspect.core.shapes.",
        "qtarget_inspect.core.errors.",
    )
    taken = imports(path)
    assert all(name.startswith(allowed) for name in taken), taken
    shared = {name.rpartition(".")[2] for name in taken if name.startswith("qtarget_inspect.core.numerics.")}
    assert shared <= {"expectation", "label_log_prob", "one_hot"}  # safe sums and look-ups, no formula of a loss


@pytest.mark.parametrize("path", VOCABULARY, ids=lambda path: path.stem)
def test_the_vocabulary_knows_neither_losses_nor_variants(path):
    assert not [
        name for name in imports(path) if name.startswith(("qtarget_inspect.losses", "qtarget_inspect.variants"))
    ]


@pytest.mark.parametrize("name", ["claims", "claim_terms"])
def test_claims_know_neither_pulls_nor_losses(name):
    taken = imports(PACKAGE / "variants" / f"{name}.py")
    assert not [one for one in taken if one.startswith(("qtarget_inspect.losses", "qtarget_inspect.vocabulary"))]


@pytest.mark.parametrize("path", [*VOCABULARY, *VARIANTS, *LOSSES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_imports_stand_at_the_top(path):
    tree = ast.parse(path.read_text())
    nested = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset]
    assert not nested

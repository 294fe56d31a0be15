"""With only the core dependencies visible, a loss is inverted and the table is computed and written.

What belongs to the core is read off the metadata of the installed distributions, so every other package that
happens to be in the environment is hidden, not only those somebody thought of.
"""

import json
import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

PROGRAM = """
import json, sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden by the test)", name=name)

HIDDEN = set(json.loads(sys.stdin.read()))
sys.meta_path.insert(0, Hide())

import torch
import qtarget_inspect as qt

logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
labels = torch.tensor([0, 1])
p = logits.softmax(-1)
p_y = p.gather(-1, labels[:, None])
expected = (1 - p_y) * p + p_y * torch.nn.functional.one_hot(labels, 3)
torch.testing.assert_close(qt.invert("dft", qt.TokenBatch(logits, labels)).q, expected)

def p_loss(logits, labels):
    return -logits.softmax(-1).gather(-1, labels[..., None]).squeeze(-1)

torch.testing.assert_close(qt.invert(p_loss, qt.TokenBatch(logits, labels)).q, expected)
table = qt.unification_table()
assert len(table) == 16, table
assert table.to_markdown() and table.to_html() and table.to_latex() and table.to_csv() and table.to_json()
assert not HIDDEN & set(sys.modules), HIDDEN & set(sys.modules)
"""


def normalized(name):
    """A distribution's name as metadata compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def core_distributions():
    """Names of the distributions that an install without extras brings, their dependencies included."""
    found, waiting = set(), ["qtarget-inspect"]
    while waiting:
        name = normalized(waiting.pop())
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted = (Requirement(line) for line in requirements)
        waiting += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def optional_modules():
    """Top-level modules that no core distribution provides."""
    core = core_distributions()
    providers = metadata.packages_distributions()
    return sorted(
        module
        for module, names in providers.items()
        if module.isidentifier() and not module.startswith("_") and not core & set(map(normalized, names))
    )


def test_the_core_works_alone():
    hidden = optional_modules()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(hidden), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_hidden():
    hidden, core = set(optional_modules()), core_distributions()
    assert {"transformers", "accelerate", "datasets", "safetensors", "pyarrow", "pytest", "trl"} <= hidden
    assert {"torch", "numpy", "pandas", "jinja2", "tabulate", "matplotlib", "typer", "jaxtyping"} <= core

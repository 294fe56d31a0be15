"""Importing the package stays light: what is heavy or optional is imported by the function that needs it."""

import json
import subprocess
import sys

HEAVY = (
    "IPython",
    "accelerate",
    "beartype",
    "datasets",
    "gguf",
    "hypothesis",
    "matplotlib",
    "plotly",
    "pytest",
    "ray",
    "reasoning_gym",
    "safetensors",
    "transformers",
    "trl",
)

PROBE = """
import json, sys, traceback

class Watch:
    culprits = {}

    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()]
            ours = [place for place in places if "qtarget_inspect" in place]
            self.culprits.setdefault(name, ours[-1] if ours else places[-2])

HEAVY = json.loads(sys.argv[1])
sys.meta_path.insert(0, Watch())
for module in json.loads(sys.argv[2]):
    __import__(module)
print(json.dumps({name: Watch.culprits.get(name, "?") for name in HEAVY if name in sys.modules}))
"""


def heavy_modules_after_importing(*modules):
    """Import the modules in a fresh interpreter; return heavy module -> the line that imported it."""
    command = [sys.executable, "-c", PROBE, json.dumps(HEAVY), json.dumps(modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_imports_nothing_heavy():
    assert heavy_modules_after_importing("qtarget_inspect") == {}


def test_importing_the_command_line_imports_nothing_heavy():
    assert heavy_modules_after_importing("qtarget_inspect.cli.app") == {}


def test_the_probe_sees_a_heavy_import():
    assert set(heavy_modules_after_importing("matplotlib")) == {"matplotlib"}

"""Help: every command has one, with examples that exist."""

import re
import shlex
import subprocess
import sys

import pytest

from qtarget_inspect.cli import app as app_module

COMMANDS = [name for name, _, _ in app_module.COMMANDS]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_app_names_its_commands(run, arguments):
    done = run(*arguments)
    assert done.exit_code == 0
    assert re.findall(r"^  (\w+)  +[A-Z]", done.stdout.partition("Commands:")[2], re.MULTILINE) == COMMANDS
    assert "..." not in done.stdout.partition("Commands:")[2], "the summaries are whole"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_help_with_examples(run, command):
    done = run(command, "--help")
    assert done.exit_code == 0
    examples = [line.strip() for line in done.stdout.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples, "the help ends in examples"
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("qtarget-inspect", command)
        options = [argument for argument in arguments if argument.startswith("--")]
        assert all(option in done.stdout.partition("Examples:")[0] for option in options)


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "qtarget_inspect", "--version"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"qtarget-inspect")


@pytest.mark.parametrize("command", ["inspect", "compare"])
def test_the_help_says_that_loading_a_file_runs_it(run, command):
    assert "Loading a file runs it" in " ".join(run(command, "--help").stdout.split())


@pytest.mark.parametrize("command", ["inspect", "compare", "tables"])
def test_options_are_the_arguments_of_the_function(command):
    import inspect

    import qtarget_inspect as qt

    function = {"inspect": qt.inspect, "compare": qt.compare, "tables": qt.unification_table}[command]
    module = next(module for name, module, _ in app_module.COMMANDS if name == command)
    ours = inspect.signature(getattr(module, command)).parameters
    theirs = inspect.signature(function).parameters
    shared = set(ours) & set(theirs)
    assert shared == {"inspect": {"loss"}, "compare": {"losses"}, "tables": {"kind", "dtype"}}[command]
    if command == "tables":
        assert ours["kind"].default == theirs["kind"].default
        assert f"torch.{ours['dtype'].default}" == str(theirs["dtype"].default)


def test_the_version(run):
    done = run("--version")
    assert done.exit_code == 0
    assert done.stdout.startswith("qtarget-inspect")

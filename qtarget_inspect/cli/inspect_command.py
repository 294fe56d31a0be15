"""`qtarget-inspect inspect`: one loss, and what it teaches."""

from __future__ import annotations

from textwrap import fill

from qtarget_inspect.cli import options
from qtarget_inspect.cli.batches import batch_from_options
from qtarget_inspect.cli.console import WIDTH, say, working

EXAMPLES = """\b
Examples:
  qtarget-inspect inspect dft
  qtarget-inspect inspect "beyond-log(alpha=0.5)"
  qtarget-inspect inspect my_losses.py:focal --text "2 + 2 = 4"
  qtarget-inspect inspect my_losses.py:kd --text-file solution.txt --model ./student --teacher ./teacher
"""


def inspect(
    loss: options.Loss,
    model: options.Model = None,
    text: options.Text = None,
    text_file: options.TextFile = None,
    prompt: options.Prompt = None,
    teacher: options.Teacher = None,
    reference: options.Reference = None,
) -> None:
    """What one loss teaches: gamma, residual, whether Q is a distribution, the reduction that was undone.

    On the built-in probe states, or on the tokens of a text under a language model.
    """
    import qtarget_inspect as qt
    from qtarget_inspect.variants import resolve

    resolved = resolve(loss)  # a name that does not exist is answered before a model is loaded
    batch, where = batch_from_options(
        model=model, text=text, text_file=text_file, prompt=prompt, teacher=teacher, reference=reference
    )
    with working("differentiating the loss"):
        inspection = qt.inspect(resolved, batch)
        lines = inspection.text()
    say(lines.rstrip("\n"))
    if batch is not None:
        say("\n" + fill(f"On {where}.", WIDTH, break_on_hyphens=False))

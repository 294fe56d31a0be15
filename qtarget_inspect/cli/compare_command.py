"""`qtarget-inspect compare`: several losses on the same tokens."""

from __future__ import annotations

from textwrap import fill

from qtarget_inspect.cli import options
from qtarget_inspect.cli.batches import batch_from_options
from qtarget_inspect.cli.console import WIDTH, print_table, say, working
from qtarget_inspect.cli.outputs import chosen_format, put_table

EXAMPLES = """\b
Examples:
  qtarget-inspect compare sft dft eaft
  qtarget-inspect compare sft "asft(kl_weight=0.1)" my_losses.py:focal --text-file solution.txt
  qtarget-inspect compare sft dft --out comparison.csv
"""


def compare(
    losses: options.Losses,
    model: options.Model = None,
    text: options.Text = None,
    text_file: options.TextFile = None,
    prompt: options.Prompt = None,
    teacher: options.Teacher = None,
    reference: options.Reference = None,
    format: options.Format = None,
    out: options.Out = None,
) -> None:
    """What several losses teach on the same tokens, a row a loss.

    Means over tokens with 95 % bootstrap intervals: the label trust gamma and its spread, how far Q lies from
    the model (total variation; KL(Q||p) in nats), the entropy of the residual (nats), the negative mass of Q.

    gamma is undefined for a loss that no known pulls explain.
    """
    wanted = chosen_format(format, out)

    import qtarget_inspect as qt
    from qtarget_inspect.core.probes import probe_batch
    from qtarget_inspect.tables.writers import display_table
    from qtarget_inspect.variants import resolve

    resolved = [resolve(loss) for loss in losses]
    batch, where = batch_from_options(
        model=model, text=text, text_file=text_file, prompt=prompt, teacher=teacher, reference=reference
    )
    with working("differentiating the losses"):
        frame = qt.compare(resolved, batch if batch is not None else probe_batch())
    if wanted is not None:
        put_table(frame, wanted, out)
        return
    print_table(display_table(frame), optional=("signed", "5 % to 95 %", "H(residual)"))
    first = frame.iloc[0]
    means = f"Means of {first['tokens']} tokens [95 % bootstrap intervals over {first['resampled']}]: {where}."
    say("\n" + fill(means, WIDTH, break_on_hyphens=False))
    unknown = frame.loc[(frame["gauge"] == "unit") & (frame["gamma_defined"] == 0), "loss"].tolist()
    if unknown:
        say(fill(f"gamma is undefined where no known pulls explain the loss: {', '.join(unknown)}.", WIDTH))
    if bool((frame["kl_defined"] < 1).any()):
        say("KL(Q‖p) and the entropy are means over the tokens where they are defined: where nothing is negative.")

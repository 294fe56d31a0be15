"""`qtarget-inspect variants`: the registered losses."""

from __future__ import annotations

from qtarget_inspect.cli import options
from qtarget_inspect.cli.console import on_terminal, print_table, say
from qtarget_inspect.cli.outputs import chosen_format, put_table

EXAMPLES = """\b
Examples:
  qtarget-inspect variants
  qtarget-inspect variants --format json
"""


def variants(format: options.Format = None, out: options.Out = None) -> None:
    """List the registered losses: name, parameters, the context they need.

    The sixteen rows of the paper's table come first, then what other packages have registered.
    """
    wanted = chosen_format(format, out)

    import pandas as pd

    import qtarget_inspect as qt

    frame = pd.DataFrame(
        {
            "name": variant.name,
            "category": variant.category,
            "parameters": ", ".join(f"{key}={value!r}" for key, value in variant.parameters.items()) or "-",
            "needs": ", ".join(variant.context) or "-",
            "loss": variant.formula or "-",
            "reference": variant.reference or "-",
        }
        for variant in qt.variants().values()
    )
    if wanted is not None:
        put_table(frame, wanted, out)
        return
    print_table(frame, optional=("reference", "category"))
    if on_terminal():
        say('\nParameters are set in parentheses, e.g. "asft(kl_weight=0.1)".')

"""Records: a row a token with the measured weights, what the laws say, and what they may depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from qtarget_inspect.analysis.identification.forms import FoundLaw
from qtarget_inspect.analysis.identification.observation import Observation
from qtarget_inspect.analysis.identification.weights import Weights
from qtarget_inspect.core.batch import LOGIT_CONTEXT, TOKEN_CONTEXT

_NAMES = {"reference_logits": "reference p_y", "teacher_logits": "teacher p_y", "old_logits": "old policy p_y"}


def token_table(
    observations: Sequence[Observation],
    held: np.ndarray,
    weights: Weights,
    found: Mapping[str, FoundLaw | None],
) -> pd.DataFrame:
    """The weights of every token beside what they may depend on.

    Args:
        observations: the states.
        held: [N] which tokens were held back.
        weights: the weights.
        found: the laws by direction name.

    Returns:
        A row a token.
    """
    states = [one.state for one in observations]
    columns = {
        "p_y": torch.cat([state.p_label for state in states]).numpy(),
        "entropy": torch.cat([state.entropy for state in states]).numpy(),
        "vocabulary": np.concatenate([np.full(len(one.batch), one.batch.vocabulary) for one in observations]),
        "held_back": held,
    }
    seen = [
        name for name in (*LOGIT_CONTEXT, *TOKEN_CONTEXT) if all(getattr(s.batch, name) is not None for s in states)
    ]
    for name in seen:
        if name in LOGIT_CONTEXT:
            columns[_NAMES[name]] = torch.cat([state.log_prob_of_label(name).exp() for state in states]).numpy()
        else:
            columns[name] = torch.cat([state.context(name) for state in states]).numpy()
    for name, values in weights.values.items():
        law = found.get(name)
        columns[f"pull {name}"] = values
        columns[f"rounding {name}"] = weights.sigma[name]
        columns[f"law {name}"] = (
            torch.cat([law.law(state) for state in states]).numpy() if law is not None else np.full(len(held), np.nan)
        )
    columns["unexplained"] = weights.unexplained
    return pd.DataFrame(columns)

"""The made-up tokens that exercises are checked on."""

from __future__ import annotations

from qtarget_inspect.analysis.sweeps.states import sweep_states
from qtarget_inspect.core.batch import TokenBatch

P_LABEL = (0.01, 0.03, 0.06, 0.12, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.99)
"""p_y of the tokens: round numbers that a hint can name, none of them a threshold in use."""

OTHERS_ENTROPY = (0.5, 1.0, 1.5, 2.0)
"""Entropy of the other tokens in nats, in turn, so that a law of p_y and one of the entropy cannot be mixed up."""

TEACHER_P_LABEL = (0.8, 0.3, 0.6)
"""What the teacher gives the label, in turn."""

VOCABULARY = 16


def exercise_states() -> TokenBatch:
    """Thirteen tokens with every context that a loss may ask for; p_y, entropy and teacher vary independently.

    Returns:
        The batch, float64.

    Examples:
        >>> batch = exercise_states()
        >>> len(batch), batch.vocabulary, batch.logits.softmax(-1)[4, 0]
        (13, 16, tensor(0.2500, dtype=torch.float64))
    """
    count = len(P_LABEL)
    return sweep_states(
        P_LABEL,
        others_entropy=[OTHERS_ENTROPY[i % len(OTHERS_ENTROPY)] for i in range(count)],
        teacher_p_y=[TEACHER_P_LABEL[i % len(TEACHER_P_LABEL)] for i in range(count)],
        vocabulary=VOCABULARY,
    )

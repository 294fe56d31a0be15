"""HF models and text -> TokenBatch; nothing here imports transformers before a model is loaded."""

from qtarget_inspect.models.causal_lm import CausalLM, load_causal_lm
from qtarget_inspect.models.text import token_batch, token_batch_from_text
from qtarget_inspect.models.views import View, chat_view, one_example_view, plain_view, privileged_view
from qtarget_inspect.models.worked_problems import WorkedProblem, worked_problems
from qtarget_inspect.models.worked_solution import WorkedSolution, worked_solution

__all__ = [
    "CausalLM",
    "View",
    "WorkedProblem",
    "WorkedSolution",
    "chat_view",
    "load_causal_lm",
    "one_example_view",
    "plain_view",
    "privileged_view",
    "token_batch",
    "token_batch_from_text",
    "worked_problems",
    "worked_solution",
]

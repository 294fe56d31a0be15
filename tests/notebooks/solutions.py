"""Answers to the exercises of the notebooks: one that is right, and typical wrong ones with what their hint has to say.

Code defines the student's name and sees everything that the notebook's cells define.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answers:
    """Of one exercise.

    Args:
        right: code that solves it.
        wrong: code -> a part of the hint that it has to get.
        secret: what no hint may contain.
    """

    right: str
    wrong: dict[str, str]
    secret: tuple[str, ...]


def loss(name: str, *lines: str, arguments: str = "logits, labels") -> str:
    """The code of a loss."""
    return "\n    ".join([f"def {name}({arguments}):", *lines])


LOG_P_Y = "log_p_y = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)"

TO_BOTH = (
    "log_p = logits.log_softmax(-1)",
    "gate = torch.special.entr(log_p.exp()).sum(-1) / math.log(logits.shape[-1])",
    "to_label = -log_p.gather(-1, labels[:, None]).squeeze(-1)",
    "to_teacher = -(teacher_logits.softmax(-1) * log_p).sum(-1)",
)

TOP_GATE = (
    *TO_BOTH,
    "top = logits.topk(8, -1).values.log_softmax(-1)",
    "gate = torch.special.entr(top.exp()).sum(-1) / math.log(8)",
)

MIXED = "return gate * to_label + (1 - gate) * to_teacher"

TEACHER = "logits, labels, teacher_logits"
OLD = "logits, labels, old_logits"
COUNTED = "logits, labels, teacher_logits, num_items_in_batch=None"

MENDED = (
    "valid = labels != -100",
    "values = gated(logits[valid], labels[valid], teacher_logits[valid])",
    "count = valid.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch",
)

TO_OLD = (
    "log_p = logits.log_softmax(-1)",
    "log_p_y = log_p.gather(-1, labels[:, None]).squeeze(-1)",
    "to_old = -(old_logits.softmax(-1) * log_p).sum(-1)",
)

SOLUTIONS: dict[str, list[Answers]] = {
    "01_what_a_loss_teaches": [
        Answers(
            "q_of_exercise_1 = p + p[1] ** 2 * (label - p)",
            {
                "q_of_exercise_1 = [0.375, 0.4375, 0.1125, 0.075]": "entry 1 (the label) is too large",
                "q_of_exercise_1 = -p[1] ** 2 * (label - p)": "the gradient g itself",
                "q_of_exercise_1 = p - p[1] ** 2 * (label - p)": "Which way is down?",
                "q_of_exercise_1 = [0.5, 0.3, 0.15, 0.1]": "your entries sum to 1.05",
            },
            ("0.297", "0.469", "0.2969"),
        ),
        Answers(
            loss("loss_of_exercise_2", LOG_P_Y, "return -(1 - log_p_y.exp()).detach() * log_p_y"),
            {
                loss("loss_of_exercise_2", LOG_P_Y, "return -(1 - log_p_y.exp()) * log_p_y"): "gradient flows through",
                loss("loss_of_exercise_2", LOG_P_Y, "return -log_p_y.exp().detach() * log_p_y"): "falls as p_y grows",
                loss("loss_of_exercise_2", LOG_P_Y, "return (1 - log_p_y.exp()).detach() * log_p_y"): "the wrong sign",
                loss("loss_of_exercise_2", LOG_P_Y, "return 1 - log_p_y.exp()"): "gamma at p_y = 0.25 is 0.25",
            },
            ("detach", "1 - p_y"),
        ),
        Answers(
            "p_of_exercise_3 = [0.7 * q + 0.1 for q in Q_STAR]",
            {
                "p_of_exercise_3 = [0.5, 0.3, 0.2]": "that is q* itself",
                "p_of_exercise_3 = [0.35, 0.21, 0.14]": "your entries sum to 0.7",
                "p_of_exercise_3 = [0.6, 0.27, 0.13]": "too sharp",
                "p_of_exercise_3 = [1 / 3, 1 / 3, 1 / 3]": "too flat",
            },
            ("0.45", "0.31", "0.24"),
        ),
    ],
    "02_regenerate_the_tables": [
        Answers(
            "def gamma_of_exercise_1(p_y):\n    return p_y / (p_y + 0.2)",
            {
                "def gamma_of_exercise_1(p_y):\n    return p_y": "that is gamma in the unit gauge",
                "def gamma_of_exercise_1(p_y):\n    return 0.2 / (p_y + 0.2)": "what is left for the residual",
                "def gamma_of_exercise_1(p_y):\n    return 1 / (1 + 0.2)": "too high",
            },
            ("p_y /", "+ 0.2"),
        ),
        Answers(
            loss(
                "loss_of_exercise_2",
                *TO_OLD,
                "trust = log_p_y.exp().detach()",
                "return -trust * log_p_y + (1 - trust) * to_old",
                arguments=OLD,
            ),
            {
                loss(
                    "loss_of_exercise_2",
                    *TO_OLD,
                    "trust = log_p_y.exp()",
                    "return -trust * log_p_y + (1 - trust) * to_old",
                    arguments=OLD,
                ): "gradient flows through a weight",
                loss(
                    "loss_of_exercise_2",
                    *TO_OLD,
                    "trust = log_p_y.exp().detach()",
                    "return -trust * log_p_y + to_old",
                    arguments=OLD,
                ): "the total pull is 1.01 to 1.99",
                loss("loss_of_exercise_2", *TO_OLD, "return -log_p_y + to_old", arguments=OLD): "the pull to the label",
            },
            ("detach()", "1 - trust"),
        ),
        Answers(
            "q_of_exercise_3 = [0.68 * 0.4 / 0.9, 0.32 + 0.68 * 0.4 / 0.9, 0.68 * 0.1 / 0.9]",
            {
                "q_of_exercise_3 = [0.68 * 0.64, 0.32 + 0.68 * 0.32, 0.68 * 0.04]": "too large",
                "q_of_exercise_3 = [0.68 * 0.4, 0.32 + 0.68 * 0.4, 0.68 * 0.1]": "your entries sum to",
                "q_of_exercise_3 = [0.4, 0.4, 0.1]": "your entries sum to",
            },
            ("0.302", "0.622", "0.076"),
        ),
    ],
    "03_analyse_a_new_loss": [
        Answers(
            loss("loss_of_exercise_1", *MENDED, "return values.sum() / count", arguments=COUNTED),
            {
                loss("loss_of_exercise_1", *MENDED, "return values.mean()", arguments=COUNTED): "accumulation: ",
                loss(
                    "loss_of_exercise_1", *MENDED[:2], "return values.sum() / valid.sum()", arguments=COUNTED
                ): "accumulation: ",
                loss("loss_of_exercise_1", *MENDED, "return 0 * values.sum() / count", arguments=COUNTED): "",
            },
            ("/ num_items_in_batch", "clamp("),
        ),
        Answers(
            loss(
                "loss_of_exercise_2",
                *TO_BOTH,
                "w = gate.detach()",
                "return w * to_label + (1 - w) * to_teacher + (to_label - to_teacher).detach() * gate",
                arguments=TEACHER,
            ),
            {
                loss(
                    "loss_of_exercise_2",
                    *TO_BOTH,
                    "w = gate.detach()",
                    "return w * to_label + (1 - w) * to_teacher + (to_label - to_teacher) * gate",
                    arguments=TEACHER,
                ): "point different ways",
                loss("loss_of_exercise_2", "return gated(logits, labels, teacher_logits)", arguments=TEACHER): (
                    "point different ways"
                ),
                loss(
                    "loss_of_exercise_2", "return 2 * not_detached(logits, labels, teacher_logits)", arguments=TEACHER
                ): ("2 times the step"),
            },
            (".detach()", "to_label - to_teacher"),
        ),
        Answers(
            loss("loss_of_exercise_3", *TOP_GATE, "gate = gate.detach()", MIXED, arguments=TEACHER),
            {
                loss("loss_of_exercise_3", *TOP_GATE, MIXED, arguments=TEACHER): "gradient flows through a weight",
                loss("loss_of_exercise_3", *TO_BOTH, "gate = gate.detach()", MIXED, arguments=TEACHER): (
                    "the pull to the label is"
                ),
                loss("loss_of_exercise_3", *TOP_GATE, "return gate.detach() * to_label", arguments=TEACHER): (
                    "the model itself fills up what is missing"
                ),
            },
            ("topk", "math.log(8)", "detach"),
        ),
    ],
}

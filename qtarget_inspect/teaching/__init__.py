"""Exercises: checks that call the engine on a student's answer and say what is off, never what the answer is."""

from qtarget_inspect.teaching.check import Check
from qtarget_inspect.teaching.code_checks import check_audit, check_same
from qtarget_inspect.teaching.population_checks import check_learned, check_verdict
from qtarget_inspect.teaching.setting_checks import check_setting
from qtarget_inspect.teaching.target_checks import check_claim, check_target
from qtarget_inspect.teaching.trust_checks import check_gamma, check_law

__all__ = [
    "Check",
    "check_audit",
    "check_claim",
    "check_gamma",
    "check_law",
    "check_learned",
    "check_same",
    "check_setting",
    "check_target",
    "check_verdict",
]

"""Inspection: everything about one loss in one object, in numbers, words and pictures."""

from qtarget_inspect.inspection.procedure import inspect
from qtarget_inspect.inspection.result import Inspection

__all__ = ["Inspection", "inspect"]

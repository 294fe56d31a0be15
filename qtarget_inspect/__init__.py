"""qtarget_inspect: what target distribution a supervised fine-tuning loss teaches."""

import importlib
from typing import Any

from qtarget_inspect import losses
from qtarget_inspect.analysis.comparison import compare
from qtarget_inspect.analysis.decomposition import Decomposition, decompose
from qtarget_inspect.analysis.equivalence import Equivalence, equivalent
from qtarget_inspect.analysis.identification import Identification, identify
from qtarget_inspect.analysis.loss_audit import LossAudit, audit_loss
from qtarget_inspect.analysis.measurement.procedure import measure
from qtarget_inspect.analysis.measurement.records import LossMeasurement, Measurement
from qtarget_inspect.analysis.population.points import FixedPoint
from qtarget_inspect.analysis.population.view import FixedPoints, fixed_points
from qtarget_inspect.analysis.simplex.field import SimplexField, simplex_field
from qtarget_inspect.analysis.sweeps import sweep
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import (
    BatchError,
    LossError,
    MissingContextError,
    MissingDependencyError,
    QTargetError,
    ReductionError,
    RegistryError,
)
from qtarget_inspect.core.fast_paths import fast_paths
from qtarget_inspect.core.hidden_states import HiddenStates
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.storage import load
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.inspection import Inspection, inspect
from qtarget_inspect.tables.properness import properness_table
from qtarget_inspect.tables.target_table import target_table
from qtarget_inspect.tables.token_table import token_table
from qtarget_inspect.tables.unification import unification_table
from qtarget_inspect.tables.writers import write_table
from qtarget_inspect.variants import Claim, Variant, get, register, unregister, variants

__version__ = "0.1.0"

__all__ = [
    "BatchError",
    "Claim",
    "Decomposition",
    "Equivalence",
    "FixedPoint",
    "FixedPoints",
    "HiddenStates",
    "Identification",
    "InducedTarget",
    "Inspection",
    "LossAudit",
    "LossError",
    "LossMeasurement",
    "Measurement",
    "MissingContextError",
    "MissingDependencyError",
    "QTargetError",
    "ReductionError",
    "RegistryError",
    "SimplexField",
    "TokenBatch",
    "Variant",
    "__version__",
    "adapt",
    "audit_loss",
    "compare",
    "decompose",
    "equivalent",
    "fast_paths",
    "fixed_points",
    "get",
    "identify",
    "inspect",
    "invert",
    "load",
    "losses",
    "measure",
    "probe_batch",
    "properness_table",
    "register",
    "simplex_field",
    "sweep",
    "target_table",
    "token_table",
    "unification_table",
    "unregister",
    "variants",
    "write_table",
]


def __getattr__(name: str) -> Any:
    """`qtarget_inspect.plots` (it alone imports matplotlib) and `qtarget_inspect.teaching`, on first use."""
    if name in ("plots", "teaching"):
        return importlib.import_module(f"qtarget_inspect.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

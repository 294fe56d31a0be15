"""qtarget_inspect: what target distribution a supervised fine-tuning loss teaches."""

from qtarget_inspect import losses
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
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.adapter import adapt
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.engine.target import InducedTarget
from qtarget_inspect.variants import Claim, Variant, get, register, unregister, variants

"""The package's own errors: every one is a QTargetError, which is a ValueError."""


class QTargetError(ValueError):
    """Something the user handed over cannot be used; the message names it and says what to do."""


class BatchError(QTargetError):
    """A `TokenBatch` (or what should become one) has a wrong shape, type or value."""


class MissingContextError(QTargetError):
    """A loss needs context (a teacher, advantages, ...) that the batch does not hold."""


class LossError(QTargetError):
    """A loss raised, returned the wrong shape or NaN, or does not depend on the logits."""


class ReductionError(QTargetError):
    """How a scalar loss reduces over its tokens cannot be told; it has to be declared."""


class RegistryError(QTargetError):
    """A variant or parameter name is unknown, taken, or malformed."""


class MissingDependencyError(QTargetError):
    """An optional dependency is not installed; the message names the extra that brings it."""

"""Fusion: a graph pass for torch.compile that keeps gradients of label entries sparse and computes nothing twice.

A loss that gathers log p_y has a gradient of zeros with one entry a row. Left alone, the compiler writes those zeros,
adds to them, sums them and reads them again, four passes over [n, V] beside the two that the softmax needs; and the
softmax of Q = p - g is computed apart from the loss's own. Here a matrix that is zero but for the label's entry is
known by that entry: its row sum is the entry itself, and where it is needed it is a comparison of column numbers. And
wherever the graph takes the softmax of the logits, it is given the one that torch's own operator computed, whose
exponential is faster than what the compiler writes on a CPU. The result is the same numbers in fewer passes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

VERSION = "1"
"""Part of the key under which the compiler keeps its results: raise it when the pass changes."""


@torch.library.custom_op("qtarget_inspect::known_softmax", mutates_args=())
def known_softmax(logits: Tensor, p: Tensor, centre: Tensor, log_total: Tensor, columns: Tensor) -> Tensor:
    """Tell the pass what is known of some logits; log softmax(z) = (z - centre) - log_total. The pass takes it out.

    Args:
        logits: [n, V] logits z.
        p: [n, V] their softmax.
        centre: [n, 1] some number near the logits, say the label's own.
        log_total: [n, 1] logsumexp(z - centre).
        columns: [V] the numbers 0 to V - 1, int32, which labels are compared with.

    Returns:
        A copy of p.
    """
    return p.clone()


@known_softmax.register_fake
def _(logits: Tensor, p: Tensor, centre: Tensor, log_total: Tensor, columns: Tensor) -> Tensor:
    return torch.empty_like(p)


def label_fusion() -> Any | None:
    """The pass, for `torch.compile(options={"post_grad_custom_pre_pass": ...})`.

    Returns:
        The pass; None where this torch has no place for it.
    """
    try:
        from torch._inductor.custom_graph_pass import CustomGraphPass
    except ImportError:
        return None

    class LabelFusion(CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            merge_equal_nodes(graph)
            columns = use_known_softmax(graph)
            if columns is not None:
                keep_label_entries_sparse(graph, columns)
            graph.lint()

        def uuid(self) -> str:
            return f"qtarget-inspect-label-fusion-{VERSION}"

    return LabelFusion()


def merge_equal_nodes(graph: Graph) -> None:
    """Let equal calls on equal arguments be one, axes counted from the front.

    Args:
        graph: the graph, changed in place.
    """
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not _is_pure(node.target):
            continue
        key = (node.target, _key(node.args, node), _key(node.kwargs, node))
        if key not in seen:
            seen[key] = node
            continue
        node.replace_all_uses_with(seen[key])
        graph.erase_node(node)


def _is_pure(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    if schema is None or schema.is_mutable:
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags


def _key(value: Any, node: Node) -> Any:
    """Something hashable; negative axes of reductions count from the front."""
    if isinstance(value, Node):
        return value
    if isinstance(value, dict):
        return tuple((name, _key(entry, node)) for name, entry in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value):
            return ("ints", *_axes(value, node))
        return tuple(_key(entry, node) for entry in value)
    return (type(value).__name__, repr(value))


def _axes(numbers: Any, node: Node) -> tuple[int, ...]:
    if node.target not in (torch.ops.aten.amax.default, torch.ops.aten.sum.dim_IntList):
        return tuple(numbers)
    return tuple(number % node.args[0].meta["val"].ndim for number in numbers)  # type: ignore[union-attr]


def use_known_softmax(graph: Graph) -> Node | None:
    """Put what `known_softmax` tells wherever the graph would compute it again, and take `known_softmax` out.

    Args:
        graph: the graph, changed in place.

    Returns:
        The column numbers, None where nothing was told.
    """
    aten, columns = torch.ops.aten, None
    for known in [node for node in graph.nodes if node.target is torch.ops.qtarget_inspect.known_softmax.default]:
        logits, softmax, centre, log_total, columns = known.args
        for node in list(graph.nodes):
            if _is_log_softmax(node, logits):
                with graph.inserting_before(node):
                    centred = graph.call_function(aten.sub.Tensor, (logits, centre))
                    centred.meta["val"] = node.meta["val"]
                    rebuilt = graph.call_function(aten.sub.Tensor, (centred, log_total))
                    rebuilt.meta["val"] = node.meta["val"]
                for user in list(node.users):
                    user.replace_input_with(node, softmax if _calls(user, aten.exp.default) else rebuilt)
                    if _calls(user, aten.exp.default):
                        user.replace_all_uses_with(softmax)
            elif _is_softmax(node, logits):
                node.replace_all_uses_with(softmax)
        known.replace_all_uses_with(softmax)
    graph.eliminate_dead_code()
    return columns


def _calls(node: Any, target: Any) -> bool:
    return isinstance(node, Node) and node.target is target


def _is_exponential(node: Any, logits: Node) -> bool:
    """exp(z - max z)."""
    return _calls(node, torch.ops.aten.exp.default) and _is_centred(node.args[0], logits)


def _is_centred(node: Any, logits: Node) -> bool:
    """z - max z."""
    if not _calls(node, torch.ops.aten.sub.Tensor) or node.args[0] is not logits or node.kwargs:
        return False
    largest = node.args[1]
    return _calls(largest, torch.ops.aten.amax.default) and largest.args[0] is logits and _keeps_last_axis(largest)


def _is_total(node: Any, logits: Node) -> bool:
    """sum exp(z - max z)."""
    is_sum = _calls(node, torch.ops.aten.sum.dim_IntList) and _keeps_last_axis(node)
    return is_sum and _is_exponential(node.args[0], logits)


def _is_softmax(node: Any, logits: Node) -> bool:
    """exp(z - max z) / sum exp(z - max z)."""
    if not _calls(node, torch.ops.aten.div.Tensor) or not _is_exponential(node.args[0], logits):
        return False
    return _is_total(node.args[1], logits)


def _is_log_softmax(node: Any, logits: Node) -> bool:
    """(z - max z) - log sum exp(z - max z)."""
    if not _calls(node, torch.ops.aten.sub.Tensor) or not _is_centred(node.args[0], logits):
        return False
    return _calls(node.args[1], torch.ops.aten.log.default) and _is_total(node.args[1].args[0], logits)


def _keeps_last_axis(node: Node) -> bool:
    return len(node.args) > 2 and bool(node.args[2]) and _axes(node.args[1], node) == (1,)


def keep_label_entries_sparse(graph: Graph, columns: Node) -> None:
    """Follow matrices that are zero but for one entry a row, and replace their sums and their writing out.

    Args:
        graph: the graph, changed in place.
        columns: [V] the column numbers.
    """
    aten = torch.ops.aten
    sparse: dict[Node, tuple[Node, Node]] = {}  # matrix [n, V] -> its column [n, 1], its entry [n, 1]
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        with graph.inserting_before(node):
            found = _entry(node, sparse, graph)
            if found is not None:
                sparse[node] = found
            elif node.target is aten.sum.dim_IntList and node.args[0] in sparse and _over_columns(node):
                entry = sparse[node.args[0]][1]
                keep = len(node.args) > 2 and node.args[2]
                node.replace_all_uses_with(entry if keep else graph.call_function(aten.squeeze.dim, (entry, 1)))
    for node, (column, entry) in sparse.items():
        users = [user for user in node.users if user not in sparse]
        if not users or _shape(node)[1:] != _shape(columns):
            continue
        with graph.inserting_before(node.next):
            written = _write_out(node, column, entry, columns, graph)
        for user in users:
            user.replace_input_with(node, written)
    graph.eliminate_dead_code()


def _entry(node: Node, sparse: dict[Node, tuple[Node, Node]], graph: Graph) -> tuple[Node, Node] | None:
    """Column and entry of a node that is zero elsewhere, None for others."""
    aten = torch.ops.aten
    if not _is_matrix(node):
        return None
    if node.target is aten.scatter_add.default:
        zeros, axis, column, entry = node.args
        if _is_zero(zeros) and axis in (-1, 1) and _is_column(column, node) and _is_column(entry, node):
            return column, entry  # type: ignore[return-value]
    if node.target is aten.where.self:
        condition, value, otherwise = node.args
        column = _compared_column(condition)
        if column is not None and _is_zero(otherwise) and _is_number(value):
            full = graph.call_function(aten.expand.default, (value, [_shape(node)[0], 1]))
            return column, _described(full, value.meta["val"].expand(_shape(node)[0], 1))  # type: ignore[union-attr]
    if node.target is aten.neg.default and node.args[0] in sparse:
        column, entry = sparse[node.args[0]]  # type: ignore[index]
        return column, _described(graph.call_function(aten.neg.default, (entry,)), -entry.meta["val"])
    if node.target is aten.mul.Tensor:
        for one, other in (node.args, node.args[::-1]):
            if one in sparse and (_is_number(other) or _is_column(other, node)):
                column, entry = sparse[one]  # type: ignore[index]
                return column, _described(*_product(entry, other, graph))
    return None


def _product(entry: Node, other: Any, graph: Graph) -> tuple[Node, Tensor]:
    value = other.meta["val"] if isinstance(other, Node) else other
    return graph.call_function(torch.ops.aten.mul.Tensor, (entry, other)), entry.meta["val"] * value


def _write_out(node: Node, column: Node, entry: Node, columns: Node, graph: Graph) -> Node:
    """where(columns == column, entry, 0); column numbers are read, since counting vectors up is slower."""
    aten, prims = torch.ops.aten, torch.ops.prims
    value = node.meta["val"]
    device = value.device
    near = _described(
        graph.call_function(prims.convert_element_type.default, (column, torch.int32)),
        column.meta["val"].to(torch.int32),
    )
    hit = _described(graph.call_function(aten.eq.Tensor, (columns, near)), columns.meta["val"] == near.meta["val"])
    settings = {"dtype": value.dtype, "layout": torch.strided, "device": device, "pin_memory": False}
    zero = _described(graph.call_function(aten.full.default, ([], 0.0), settings), value.new_empty(()))
    return _described(graph.call_function(aten.where.self, (hit, entry, zero)), value)


def _described(node: Node, value: Tensor) -> Node:
    node.meta["val"] = value
    return node


def _compared_column(condition: Any) -> Node | None:
    """The column [n, 1] of a comparison with all column numbers, as the compiler writes a scatter of one number."""
    if not isinstance(condition, Node) or condition.target is not torch.ops.aten.eq.Tensor:
        return None
    sides = [_through(side, (torch.ops.aten.expand.default, torch.ops.aten.reshape.default)) for side in condition.args]
    for one, other in (sides, sides[::-1]):
        if other.target is torch.ops.prims.iota.default and other.kwargs.get("start") == 0 and len(_shape(one)) == 2:
            return one if _shape(one)[1] == 1 else None
    return None


def _through(node: Any, targets: tuple[Callable[..., Any], ...]) -> Node:
    while node.target in targets:
        node = node.args[0]
    return node


def _over_columns(node: Node) -> bool:
    return [axis % 2 for axis in node.args[1]] == [1]  # type: ignore[union-attr, operator]


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _is_matrix(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1 and value.is_floating_point()


def _is_column(node: Any, like: Node) -> bool:
    return _shape(node) == (_shape(like)[0], 1)


def _is_number(node: Any) -> bool:
    return isinstance(node, Node) and isinstance(node.meta.get("val"), Tensor) and _shape(node) == ()


def _is_zero(node: Any) -> bool:
    aten = torch.ops.aten
    if not isinstance(node, Node):
        return False
    places = {aten.full.default: 1, aten.scalar_tensor.default: 0, aten.zeros.default: None}
    if node.target not in places:
        return False
    place = places[node.target]
    return place is None or operator.eq(node.args[place], 0)

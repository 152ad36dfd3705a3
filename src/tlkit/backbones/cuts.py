"""The places where a backbone may be cut in two.

A cut point is a tensor through which everything passes: what lies below depends on the image alone,
what lies above on that one tensor alone. So the frozen part can be run once per image, and training
goes on from its activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras


@final
@dataclass(frozen=True, slots=True)
class CutPoint:
    """A place in a backbone where one tensor carries everything.

    Attributes:
        index: Position in `Network.cut_points`, from 0 (nearest to the image). This identifies a cut
            point: Keras numbers some layer names anew with every network it builds in a process.
        name: Name of the layer or operation that makes the tensor.
        shape: Shape of the tensor without the batch.
        size: How many numbers that is per image.
        layer_index: The highest index in `Network.base.layers` that lies below the cut; from
            `layer_index + 1` on, every layer lies above it.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    size: int
    layer_index: int


def cuts(base: keras.Model) -> Iterator[tuple[CutPoint, keras.KerasTensor]]:
    """Sweep over the graph, keeping the tensors that are still needed: where there is one, it is a cut.

    Which of the possible orders the sweep takes does not matter: every operation is either needed for
    the tensor of a cut or needs it, so it stands on the same side in all of them. Behind a layer that is
    called once more further up there is no cut: Keras 3.15 would put the new input in its place there too.
    """
    layer_index = {id(layer): index for index, layer in enumerate(base.layers)}
    nodes = _sorted_nodes(base.outputs[0])
    last_call = {id(node.operation): step for step, node in enumerate(nodes)}
    last_use = {id(tensor): len(nodes) for tensor in base.outputs}
    for step, node in reversed(list(enumerate(nodes))):
        for tensor in node.input_tensors:
            last_use.setdefault(id(tensor), step)
    live: dict[int, keras.KerasTensor] = {}
    highest, index = -1, 0
    for step, node in enumerate(nodes):
        highest = max(highest, layer_index.get(id(node.operation), -1))
        live.update({id(tensor): tensor for tensor in node.outputs if id(tensor) in last_use})
        live = {key: tensor for key, tensor in live.items() if last_use[key] > step}
        if len(live) == 1 and node.input_tensors and last_call[id(node.operation)] == step:
            (tensor,) = live.values()
            shape = tuple(tensor.shape[1:])
            yield CutPoint(index, node.operation.name, shape, math.prod(shape), highest), tensor
            index += 1


def _sorted_nodes(output: keras.KerasTensor) -> list[Any]:
    """List the nodes (one call of one layer or operation each) that lead to a tensor, inputs first.

    Keras has no public way to walk a graph whose operations are not all layers (ConvNeXt adds without
    an Add layer), hence the two private names, here alone.
    """

    def node_of(tensor: keras.KerasTensor) -> Any:
        history = tensor._keras_history  # noqa: SLF001 - see above
        return history.operation._inbound_nodes[history.node_index]  # noqa: SLF001 - see above

    order: dict[int, Any] = {}
    pending = [(node_of(output), False)]
    while pending:  # not recursive: a network can be deeper than Python's stack
        node, inputs_done = pending.pop()
        if id(node) in order:
            continue
        if inputs_done:
            order[id(node)] = node
        else:
            pending.append((node, True))
            pending.extend((node_of(tensor), False) for tensor in node.input_tensors)
    return list(order.values())

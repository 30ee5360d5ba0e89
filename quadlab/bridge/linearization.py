"""A network and its loss at one point: value, gradient, and products with the Hessian and the Gauss-Newton matrix.

Products are forward over reverse and exact: tangents of all activations go forward, and the tangents of the
cotangents come back. Each step of the network adds J^T (tangent of its cotangent) and its own curvature.
"""

from quadlab.bridge.network import Parameter

__all__ = ["Linearization", "evaluate"]


def evaluate(network, xp, parameters, inputs):
    """The outputs alone; activations are dropped as soon as nothing needs them."""
    last_use = {argument: i for i, step in enumerate(network.steps) for argument in step.arguments}
    values = {0: inputs}
    for i, step in enumerate(network.steps):
        arguments = [parameters[a.number] if isinstance(a, Parameter) else values[a.number] for a in step.arguments]
        values[step.output.number] = step.operation.value(xp, *arguments, **step.options)
        for argument in set(step.arguments):
            if not isinstance(argument, Parameter) and last_use[argument] == i and argument != network.output:
                del values[argument.number]
    return values[network.output.number]


class Linearization:
    """The network and its loss at parameters and examples; keeps the activations for as long as it lives.

    parameters : list of arrays. weight : what the sum over these examples is multiplied by (1 / all examples).
    """

    def __init__(self, network, xp, parameters, inputs, targets, loss, weight):
        self.network, self.xp, self.loss = network, xp, loss
        self.targets, self.weight = targets, weight
        values, self.points = {0: inputs}, []
        for step in network.steps:
            arguments = tuple(
                parameters[a.number] if isinstance(a, Parameter) else values[a.number] for a in step.arguments
            )
            point = step.operation.at(xp, arguments, step.options)
            values[step.output.number] = point.output
            self.points.append(point)
        self.outputs = values[network.output.number]
        self._gradient = None

    def value(self):
        """The weighted loss of these examples, a 0-d array."""
        return self.loss.value(self.xp, self.outputs, self.targets) * self.weight

    def gradient(self):
        """The gradient, one array per parameter; leaves each point its cotangent, which curvature needs."""
        if self._gradient is None:
            last = (self.loss.gradient(self.xp, self.outputs, self.targets) * self.weight)[None, ...]
            pulled = self._back(last, None, keep=True)
            self._gradient = [array[0, ...] for array in pulled]
        return self._gradient

    def tangents(self, directions):
        """Tangents of all values, by number; `directions` holds (k, *shape) for each parameter. None where zero."""
        tangents = {0: None}
        for step, point in zip(self.network.steps, self.points, strict=True):
            total = None
            for argument, derivative in zip(step.arguments, step.operation.derivatives, strict=True):
                known = directions[argument.number] if isinstance(argument, Parameter) else tangents[argument.number]
                if known is not None:
                    total = _sum(total, derivative(point, known), step.operation.fresh)
            tangents[step.output.number] = total
        return tangents

    def hessian_product(self, directions):
        """The Hessian of the weighted loss times k directions: a list of (k, *shape)."""
        self.gradient()
        tangents = self.tangents(directions)
        return self._back(self._loss_curvature(tangents), (tangents, directions))

    def gauss_newton_product(self, directions):
        """J^T (Hessian of the loss in the outputs) J times k directions, J the derivative of the outputs."""
        return self._back(self._loss_curvature(self.tangents(directions)), None)

    def _loss_curvature(self, tangents):
        along = tangents[self.network.output.number]
        return self.loss.hessian_product(self.xp, self.outputs, self.targets, along) * self.weight

    def _back(self, last, moving, keep=False):
        """Pull cotangents (k, examples, …) back to the parameters; with tangents, add each step's curvature."""
        cotangents = {self.network.output.number: last}
        totals = [None] * len(self.network.parameters)
        for step, point in zip(reversed(self.network.steps), reversed(self.points), strict=True):
            cotangent = cotangents.pop(step.output.number, None)
            if cotangent is None:
                continue
            if keep:
                point.cotangent = cotangent[0, ...]
            for j, argument in enumerate(step.arguments):
                if not isinstance(argument, Parameter) and argument.number not in self.network.varying:
                    continue
                part = step.operation.transposed[j](point, cotangent)
                if moving is not None:
                    part = self._with_curvature(step, point, j, part, *moving)
                if isinstance(argument, Parameter):
                    totals[argument.number] = _sum(totals[argument.number], part)
                else:
                    cotangents[argument.number] = _sum(cotangents.get(argument.number), part)
            if moving is not None:
                moving[0][step.output.number] = None
        k = last.shape[0]
        return [
            self.xp.zeros((k, *parameter.shape), dtype=last.dtype, device=last.device) if total is None else total
            for total, parameter in zip(totals, self.network.parameters, strict=True)
        ]

    def _with_curvature(self, step, point, j, part, tangents, directions):
        for (i, target), curvature in step.operation.curvature.items():
            if target == j:
                source = step.arguments[i]
                along = directions[source.number] if isinstance(source, Parameter) else tangents[source.number]
                if along is not None:
                    part = _sum(part, curvature(point, along), step.operation.fresh)
        return part


def _sum(total, part, in_place=False):
    if total is None:
        return part
    if in_place:
        total += part
        return total
    return total + part

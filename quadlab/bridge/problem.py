"""A network, data and a loss: value, gradient and exact curvature products as functions of the flat parameters."""

from math import prod
from traceback import clear_frames

import numpy as np

from quadlab.bridge.arrays import available_memory, contiguous, placed, ran_out_of_memory, real_numbers
from quadlab.bridge.arrays import backend as backend_named
from quadlab.bridge.linearization import Linearization, evaluate
from quadlab.bridge.losses import LOSSES, targets_of
from quadlab.bridge.network import Network, is_whole
from quadlab.bridge.operator import CurvatureOperator

__all__ = ["Problem"]

DIRECTIONS_TOGETHER = 32
CACHED_BYTES = 2**23


class Problem:
    """The mean over examples of a loss of a network's outputs.

    Parameters
    ----------
    network : see `mlp`, `residual_network`, `vision_transformer`, or a `Draft` of your own.
    inputs : (N, *network.input_shape), finite.
    targets : (N, c) numbers, or (N,) whole labels from 0 to c - 1, of which one-hot rows are made.
    loss : "squared_error", half the squared distance to the targets, or "cross_entropy" of the softmax of the outputs.
    backend : "numpy", "cupy", or "auto" (CuPy where a device is usable). Results of `gradient` and of products live
        there; `quadlab.bridge.host` brings them back.
    dtype : "float64" or "float32".
    batch : examples that go through the network at once, all if None. It bounds the memory (see `memory`), not the
        result. With all examples at once the gradient and products at the same parameters share one pass, and products
        cost two gradients each;
        otherwise each call makes the pass again, so take vectors together.

    >>> import numpy as np
    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> problem.loss([2.0, 0.0])
    5.0
    >>> problem.gradient([2.0, 0.0])
    array([5., 3.])
    >>> problem.hessian_product([2.0, 0.0], np.eye(2))
    array([[2.5, 1.5],
           [1.5, 1. ]])
    """

    def __init__(self, network, inputs, targets, *, loss="squared_error", backend="numpy", dtype="float64", batch=None):
        if not isinstance(network, Network):
            raise ValueError(f"network must be a quadlab.bridge.Network, got {type(network).__name__}")
        if not isinstance(loss, str) or loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.network, self.loss_name = network, loss
        self.backend = backend_named(backend, dtype)
        rows = self._rows("inputs", inputs)
        self.examples = len(rows)
        if batch is not None and not (is_whole(batch) and batch >= 1):
            raise ValueError(f"batch must be a whole number >= 1 or None, got {batch!r}")
        self.batch = self.examples if batch is None else min(int(batch), self.examples)
        classes = network.output.shape[0]
        # the copy is the problem's own: a caller may change an array in place
        self.inputs = self.backend.array(rows.copy())
        self.targets = self.backend.array(
            self._finite_rows("targets", targets_of(targets, self.examples, classes, loss))
        )
        self._slices = network.slices()
        self._latest = None

    @property
    def dimension(self):
        """The number of parameters n."""
        return self.network.dimension

    @property
    def name(self):
        """The network with its loss and the number of examples."""
        return f"{self.network.name}, {self.loss_name}, {self.examples} examples"

    def __repr__(self):
        return f"Problem({self.name}, {self.dimension} parameters, {self.backend.name} {self.backend.dtype})"

    def subset(self, indices):
        """The same problem on some of the examples: a minibatch. `indices` are whole numbers, on the host."""
        indices = real_numbers("indices", indices)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or not indices.size:
            raise ValueError(
                f"indices must be a list of whole numbers, got shape {indices.shape} of dtype {indices.dtype}"
            )
        if indices.min() < 0 or indices.max() >= self.examples:
            raise ValueError(f"indices must lie from 0 to {self.examples - 1}, got {indices.min()} to {indices.max()}")
        xp, part = self.backend.namespace, object.__new__(Problem)
        part.__dict__.update(self.__dict__)
        taken = xp.asarray(indices.astype(np.int64), device=self.backend.device)
        part.inputs, part.targets = xp.take(self.inputs, taken, axis=0), xp.take(self.targets, taken, axis=0)
        part.examples, part.batch, part._latest = len(indices), min(self.batch, len(indices)), None
        return part

    def loss(self, parameters):
        """The mean loss, a Python float; inf where it overflows, FloatingPointError where it is NaN."""
        arrays = self._split(self._flat(parameters))
        total = self._guarded(0, lambda: self._summed_loss(arrays))
        if np.isnan(total):
            raise FloatingPointError("the loss is NaN: what it was asked at is not finite, or the network overflows")
        return total / self.examples

    def _summed_loss(self, arrays):
        xp, total = self.backend.namespace, 0.0
        for inputs, targets in self._chunks():
            outputs = evaluate(self.network, xp, arrays, inputs)
            total += float(LOSSES[self.loss_name].value(xp, outputs, targets))
        return total

    def gradient(self, parameters):
        """The gradient of the mean loss, (n,) on the backend."""
        return self.loss_and_gradient(parameters)[1]

    def loss_and_gradient(self, parameters):
        """Both in one pass: a Python float and an array (n,)."""
        flat = self._flat(parameters)
        loss, total = self._guarded(0, lambda: self._loss_and_gradient(flat))
        return loss, self._finite(total[0, :], "gradient")

    def _loss_and_gradient(self, flat):
        total, loss = self.backend.zeros((1, self.dimension)), 0.0
        for at in self._linearizations(flat, keep=True):
            loss += float(at.value())
            total = self._joined([array[None, ...] for array in at.gradient()], total)
            # the activations go before the next are made
            del at
        return loss, total

    def hessian_product(self, parameters, vectors):
        """The Hessian of the mean loss times vectors (n,) or (n, k), exactly; the same shape, on the backend."""
        return self._product(parameters, vectors, "hessian_product")

    def gauss_newton_product(self, parameters, vectors):
        """The Gauss-Newton matrix J^T (d^2 loss / d outputs^2) J times vectors (n,) or (n, k)."""
        return self._product(parameters, vectors, "gauss_newton_product")

    def hessian(self, parameters):
        """The Hessian as an operator with .shape, @, .dense() and .to_scipy()."""
        return CurvatureOperator(self, self._copy(parameters), "hessian_product")

    def gauss_newton(self, parameters):
        """The Gauss-Newton matrix as an operator."""
        return CurvatureOperator(self, self._copy(parameters), "gauss_newton_product")

    def predict(self, parameters, inputs=None):
        """The network's outputs (m, c), on the backend; for this problem's inputs if none are given."""
        arrays = self._split(self._flat(parameters))
        rows = self.inputs if inputs is None else self.backend.array(self._rows("inputs", inputs))
        return self._finite(self._guarded(0, lambda: self._outputs(arrays, rows)), "prediction")

    def _outputs(self, arrays, rows):
        xp, parts = self.backend.namespace, _parts(rows.shape[0], self.batch)
        return xp.concat([evaluate(self.network, xp, arrays, rows[part, ...]) for part in parts], axis=0)

    def memory(self, vectors=1):
        """An estimate of the bytes that products with this many vectors take, at this `batch`; 0 for a gradient."""
        if not is_whole(vectors) or vectors < 0:
            raise ValueError(f"vectors must be a whole number >= 0, got {vectors!r}")
        return self._bytes(int(vectors), self.batch)

    def _together(self, batch=None):
        """How many directions go through the network at once."""
        batch = self.batch if batch is None else batch
        if self.backend.name != "numpy" or batch < self.examples:
            return DIRECTIONS_TOGETHER
        # on the host the arithmetic is no faster for more, once the tangents of the largest array leave the cache
        widest = max(batch * prod(step.output.shape) for step in self.network.steps)
        fit = CACHED_BYTES // (self.backend.itemsize * max(widest, self.dimension))
        return min(max(fit, 1), DIRECTIONS_TOGETHER)

    def _bytes(self, vectors, batch):
        sizes = [prod(step.output.shape) for step in self.network.steps]
        together = min(vectors, self._together(batch))
        # outputs and slopes stay, and a tangent of each for every vector; the widest one meets its cotangents
        activations = (sum(sizes) + 2 * max(sizes)) * (2 + together)
        return self.backend.itemsize * (batch * activations + self.dimension * (5 + 3 * vectors + together))

    def _product(self, parameters, vectors, method):
        flat, vectors = self._flat(parameters), placed("vectors", vectors, self.backend)
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.dimension or 0 in vectors.shape:
            raise ValueError(
                f"vectors must have shape ({self.dimension},) or ({self.dimension}, k), got {tuple(vectors.shape)}"
            )
        columns = vectors[:, None] if vectors.ndim == 1 else vectors
        result = self._guarded(columns.shape[1], lambda: self._products(flat, columns, method))
        result = self._finite(result, method.replace("_", " "))
        return result[0, :] if vectors.ndim == 1 else self.backend.namespace.permute_dims(result, (1, 0))

    def _products(self, flat, columns, method):
        """Products with columns (n, k), as rows (k, n)."""
        xp, pieces = self.backend.namespace, []
        rows = contiguous(xp.permute_dims(columns, (1, 0)))
        for part in _parts(rows.shape[0], self._together()):
            directions = self._split(rows[part, :])
            total = None
            for at in self._linearizations(flat, keep=True):
                total = self._joined(getattr(at, method)(directions), total)
            pieces.append(total)
        return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0)

    def _joined(self, arrays, total=None):
        """Arrays (k, *shape) as rows (k, n), added to a total."""
        xp = self.backend.namespace
        rows = xp.concat([xp.reshape(array, (array.shape[0], -1)) for array in arrays], axis=1)
        return rows if total is None else total + rows

    def _linearizations(self, flat, keep=False):
        """The network at the parameters, chunk by chunk; the latest is kept if it holds all examples."""
        xp, loss = self.backend.namespace, LOSSES[self.loss_name]
        whole = self.batch == self.examples
        # read once: another thread may replace it
        latest = self._latest
        if keep and whole and latest is not None and bool(xp.all(latest[0] == flat)):
            yield latest[1]
            return
        del latest
        # the former activations must go before the next are made
        self._latest = None
        if keep and whole:
            # the copy is the cache's own: a caller may change an array in place
            flat = xp.asarray(flat, copy=True)
        arrays = self._split(flat)
        for inputs, targets in self._chunks():
            at = Linearization(self.network, xp, arrays, inputs, targets, loss, 1 / self.examples)
            if keep and whole:
                at.gradient()
                self._latest = (flat, at)
            yield at
            del at

    def _chunks(self):
        for part in _parts(self.examples, self.batch):
            yield self.inputs[part, ...], self.targets[part, ...]

    def _split(self, flat):
        """(…, n) as one array (…, *shape) per parameter, without copies."""
        xp = self.backend.namespace
        return [
            xp.reshape(flat[..., where], (*flat.shape[:-1], *parameter.shape))
            for where, parameter in zip(self._slices, self.network.parameters, strict=True)
        ]

    def _flat(self, parameters):
        parameters = placed("parameters", parameters, self.backend)
        if tuple(parameters.shape) != (self.dimension,):
            raise ValueError(f"parameters must have shape ({self.dimension},), got {tuple(parameters.shape)}")
        return parameters

    def _copy(self, parameters):
        return self.backend.namespace.asarray(self._flat(parameters), copy=True)

    def _rows(self, name, inputs):
        rows = real_numbers(name, inputs)
        expected = self.network.input_shape
        if rows.ndim != len(expected) + 1 or rows.shape[1:] != expected or not len(rows):
            sizes = ", ".join(map(str, expected))
            raise ValueError(f"{name} must have shape (examples, {sizes}), got {rows.shape}")
        return self._finite_rows(name, rows)

    def _finite_rows(self, name, rows):
        """Host numbers in this backend's dtype, in which they must not overflow either."""
        with np.errstate(over="ignore"):
            rows = rows.astype(self.backend.dtype, copy=False)
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} must be finite in {self.backend.dtype}, got NaN or infinity")
        return rows

    def _finite(self, array, what):
        xp = self.backend.namespace
        # an infinity or NaN anywhere leaves its trace in the sum, but a sum may overflow by itself
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(float(xp.sum(array))) or bool(xp.all(xp.isfinite(array)))
        if not finite:
            reason = "what it was asked at is not finite, or the network overflows"
            raise FloatingPointError(f"the {what} is not finite: {reason}")
        return array

    def _guarded(self, vectors, work):
        """work(); overflow is announced by its result's check alone, lack of memory by the batch that would fit."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return work()
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            self._latest = None
            # what filled the memory lives in the frames that failed, and would count as taken
            clear_frames(error.__traceback__)
            fixed = self._bytes(vectors, 0)
            half = self.batch // 2
            each = (self._bytes(vectors, half) - fixed) / max(half, 1)
            # what has just failed does not fit, whatever the machine says
            fits = int(min(half, 0.8 * (available_memory(self.backend) - fixed) / each)) if half else 0
            need = self.memory(vectors) / 2**30
            advice = f"batch={fits} would fit" if fits >= 1 else "not even batch=1 would fit"
            raise MemoryError(
                f"{self.batch} examples and {max(vectors, 1)} vectors at once need about {need:.2g} GiB: {advice}"
            ) from error


def _parts(count, size):
    """Slices of at most `size` that cover `count`; none reaches beyond the end, which the standard leaves open."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]

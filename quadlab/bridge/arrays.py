"""Arrays of the bridge: one source for NumPy and CuPy, through the array API standard.

Code above this module asks an array for its namespace and never names NumPy or CuPy; data cross between host and
device in `host` and `on_device` alone, so that a copy nobody asked for is an error on a card, not a slow line.
"""

import ctypes
import os
import reprlib
from dataclasses import dataclass
from math import frexp, inf
from typing import Any

import array_api_compat
import numpy as np
from scipy import special

__all__ = [
    "Backend",
    "available_memory",
    "backend",
    "backend_of",
    "contiguous",
    "error_function",
    "host",
    "matrix_products",
    "namespace",
    "norm",
    "placed",
    "ran_out_of_memory",
    "real_numbers",
    "unit",
]

DTYPES = ("float64", "float32")
COLUMNS_AT_ONCE = 4096
KEPT_BYTES = 2**29
# glibc's numbers for the two settings, and the largest block that it can be told to keep
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_KEPT = -1, -3, 2**25


@dataclass(frozen=True)
class Backend:
    """Where arrays live: a namespace of the array API standard, a device in it (None: its default) and a dtype."""

    namespace: Any
    device: Any = None
    dtype: str = "float64"

    @property
    def name(self):
        """The library's name: "numpy", "cupy", …"""
        return self.namespace.__name__.rpartition("array_api_compat.")[2]

    @property
    def itemsize(self):
        """Bytes of one number."""
        return 4 if self.dtype == "float32" else 8

    def array(self, values, dtype=None):
        """Host numbers, or an array that is here already, as an array of this backend."""
        if not array_api_compat.is_array_api_obj(values):
            values = np.asarray(values)
        xp = self.namespace
        wanted = getattr(xp, dtype or self.dtype)
        if array_api_compat.is_numpy_array(values):
            # an overflow to infinity is for whoever looks at the numbers to refuse
            with np.errstate(over="ignore"):
                return xp.asarray(values, dtype=wanted, device=self.device)
        return xp.astype(values, wanted, copy=False)

    def zeros(self, shape):
        """Zeros of this backend's dtype."""
        return self.namespace.zeros(shape, dtype=getattr(self.namespace, self.dtype), device=self.device)


def backend(name="numpy", dtype="float64"):
    """The backend with a name: "numpy", "cupy", or "auto" (CuPy where a usable device is, else NumPy).

    >>> backend("numpy", "float32").array([1, 2]).dtype
    dtype('float32')
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if isinstance(name, Backend):
        return Backend(name.namespace, name.device, dtype)
    if not isinstance(name, str) or name not in ("numpy", "cupy", "auto"):
        raise ValueError(f'backend must be "numpy", "cupy" or "auto", got {name!r}')
    if name != "numpy":
        missing = _why_no_cupy()
        if missing is None:
            import array_api_compat.cupy
            import cupy

            # named, so that it equals the backend of the arrays made on it
            return Backend(array_api_compat.cupy, cupy.cuda.Device(), dtype)
        if name == "cupy":
            raise ValueError(
                f"backend 'cupy' has no usable device: {missing}; install quadlab[cuda12] or quadlab[cuda13] to match"
                ' the driver (`nvidia-smi` shows its CUDA version), or use backend="numpy" or "auto"'
            )
    import array_api_compat.numpy

    _keep_freed_memory()
    return Backend(array_api_compat.numpy, dtype=dtype)


def _keep_freed_memory():
    """Tell glibc to keep up to KEPT_BYTES of freed blocks instead of returning each to the system.

    Arrays of a few megabytes then cost no page faults: products with several vectors are up to twice as fast. Other
    libraries of C have no such function, or are told in vain.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return
    tell(M_TRIM_THRESHOLD, KEPT_BYTES)
    tell(M_MMAP_THRESHOLD, LARGEST_KEPT)


def _why_no_cupy():
    """None if CuPy and a device work together; otherwise what is missing, in a few words."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy finds no device"
        # importing succeeds without the toolkit's compiler and libraries; a product and a kernel do not
        trial = cupy.ones((2, 2))
        if float((trial @ trial + trial).sum()) != 12:
            return "a trial product on the device is wrong"
    except Exception as error:
        return f"a trial product on the device fails ({type(error).__name__}: {error})"
    return None


def namespace(array):
    """The array-API namespace of an array.

    >>> namespace(np.ones(3)).__name__
    'array_api_compat.numpy'
    """
    return array_api_compat.array_namespace(array)


def backend_of(array):
    """The backend an array lives on, with its dtype."""
    name = "float32" if str(array.dtype).endswith("float32") else "float64"
    return Backend(namespace(array), array_api_compat.device(array), name)


def contiguous(array):
    """The array with rows one after the other in memory, as matrix products want it; copied only if need be.

    >>> contiguous(np.arange(6.0).reshape(3, 2).T)
    array([[0., 2., 4.],
           [1., 3., 5.]])
    """
    if array_api_compat.is_numpy_array(array) and array.ndim == 2 and not array.flags.c_contiguous:
        copy = np.empty_like(array, order="C")
        # a few columns at a time stay in the cache: twice as fast as one transposing copy
        for start in range(0, array.shape[1], COLUMNS_AT_ONCE):
            columns = slice(start, start + COLUMNS_AT_ONCE)
            copy[:, columns] = array[:, columns]
        return copy
    return getattr(namespace(array), "ascontiguousarray", lambda same: same)(array)


def matrix_products(xp, x, y):
    """x @ y where one or both are stacks of matrices, (k, m, n).

    CuPy would copy transposed operands of a stack, and compute stacks without the precision that it was asked for; one
    product for each matrix does neither, and a card is as fast on few large products.
    """
    if not array_api_compat.is_cupy_array(x):
        return xp.matmul(x, y)
    import cupy

    stacks = [array if array.ndim == 3 else None for array in (x, y)]
    count = next(len(stack) for stack in stacks if stack is not None)
    products = cupy.empty((count, x.shape[-2], y.shape[-1]), dtype=x.dtype)
    for i in range(count):
        cupy.dot(x if stacks[0] is None else x[i], y if stacks[1] is None else y[i], out=products[i])
    return products


def host(array):
    """The numbers as a NumPy array: the one door from device to host.

    >>> host([1.0, 2.0])
    array([1., 2.])
    """
    if not array_api_compat.is_array_api_obj(array) or array_api_compat.is_numpy_array(array):
        return np.asarray(array)
    if array_api_compat.is_cupy_array(array):
        return array.get()
    xp = namespace(array)
    return np.asarray(array_api_compat.to_device(array, xp.__array_namespace_info__().default_device()))


def real_numbers(name, values):
    """Values as a NumPy array of real numbers.

    Raises ValueError that names them where NumPy makes no array of them, or one of anything else.

    >>> real_numbers("inputs", [[1, 2], [3]])
    Traceback (most recent call last):
    ...
    ValueError: inputs must be real numbers in rows of equal length, got [[1, 2], [3]]
    """
    try:
        array = host(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be real numbers in rows of equal length, got {reprlib.repr(values)}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}")
    return array


def placed(name, values, where):
    """Real numbers from the host, or an array of the backend `where`, as an array of that backend.

    >>> placed("vectors", [1, 2], backend("numpy", "float32")).dtype
    dtype('float32')
    """
    if not array_api_compat.is_array_api_obj(values) or array_api_compat.is_numpy_array(values):
        return where.array(real_numbers(name, values))
    if backend_of(values).name != where.name:
        raise ValueError(f"{name} must be NumPy or {where.name} arrays, got {type(values).__name__}")
    if not namespace(values).isdtype(values.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"{name} must be real numbers, got dtype {values.dtype}")
    return where.array(values)


def norm(vector):
    """The Euclidean norm, a Python float, of a vector whose squares may overflow or vanish.

    >>> norm(np.full(4, 1e-200))
    2e-200
    """
    scaled, scale = _of_order_one(vector)
    return float(namespace(vector).linalg.vector_norm(scaled)) * scale


def unit(vector):
    """The vector divided by its norm, likewise; zero if it is zero.

    >>> unit(np.array([3e-200, 4e-200]))
    array([0.6, 0.8])
    """
    scaled, scale = _of_order_one(vector)
    return scaled / namespace(vector).linalg.vector_norm(scaled) if scale else scaled


def _of_order_one(vector):
    """The vector divided by a power of two, and that power; 0 for a vector of zeros, which is returned as it is."""
    xp = namespace(vector)
    largest = float(xp.max(xp.abs(vector)))
    if not 0 < largest < inf:
        return vector, largest and 1.0
    scale = 2.0 ** (frexp(largest)[1] - 1)
    return vector / scale, scale


def error_function(array):
    """erf, elementwise: SciPy's on the host, CuPy's on a card."""
    if array_api_compat.is_numpy_array(array):
        return special.erf(array)
    if array_api_compat.is_cupy_array(array):
        from cupyx.scipy.special import erf

        return erf(array)
    # a namespace of the standard without special functions
    return backend_of(array).array(special.erf(host(array)))


def ran_out_of_memory(error):
    """Whether an error says that the host or the card has no more memory.

    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(ValueError("vectors must be finite"))
    (True, False)
    """
    # CuPy's pool raises a MemoryError; CUDA and its libraries say so in words of their own
    words = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def available_memory(where):
    """Bytes that a backend could still give: of the card, or of this machine (inf where it does not say)."""
    if where.name == "cupy":
        import cupy

        pool, free = cupy.get_default_memory_pool(), cupy.cuda.runtime.memGetInfo()[0]
        # a user may have set a limit to what CuPy takes of the card; none is 0
        if pool.get_limit():
            free = min(free, pool.get_limit() - pool.total_bytes())
        return free + pool.free_bytes()
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return inf

"""Layers of a convolutional network as functions of one array, with channels last and no batch axis.

Each builder takes the Keras 2 configuration of a layer and its weights, and returns the function. It raises ValueError if the
layer is not supported.
"""
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..core import functions, linear

PATCH_VALUES = 2_000_000
"""Number of patch values that a convolution handles at a time; they are few enough to stay in the cache."""


def softmax(a):
    """Exponentials over their sum along the last axis."""
    powers = functions.exp(a-a.max(axis=-1, keepdims=True)).astype(a.dtype)
    return powers/powers.sum(-1, keepdims=True)


def sigmoid(a):
    """The logistic function."""
    return (1/(1+functions.exp(-a))).astype(a.dtype)


ACTIVATIONS = {
    "linear": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": lambda a: 2*sigmoid(2*a)-1,
}


def convolved(array, kernel, bias, same, activation):
    """Correlate an array of channels with kernels.

    Parameters
    ----------
    array : ndarray, shape (ny, nx, channels), float32
    kernel : ndarray, shape (ky, kx, channels, filters), float32
    bias : ndarray, shape (filters,), float32
    same : bool
        If true, pixels outside the array count as zero and the result has the shape (ny, nx); if false, the result holds only the
        positions where the whole kernel lies inside the array.
    activation : callable

    Returns
    -------
    ndarray, shape (ny, nx, filters), float32
        Without `same`, smaller by the kernel's size minus 1 along each axis.
    """
    ky, kx, channels, filters = kernel.shape
    if same:
        before = (ky-1)//2, (kx-1)//2
        array = np.pad(array, ((before[0], ky-1-before[0]), (before[1], kx-1-before[1]), (0, 0)))
    patches = sliding_window_view(array, (ky, kx), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    ny, nx = patches.shape[:2]
    flat, out = kernel.reshape(-1, filters), np.empty((ny, nx, filters), np.float32)
    step = max(1, PATCH_VALUES//(nx*len(flat)))
    for y in range(0, ny, step):
        band = patches[y:y+step]
        out[y:y+step] = activation(linear.matmul(band.reshape(-1, len(flat)), flat)+bias).reshape(len(band), nx, filters)
    return out


def pooled(array, size):
    """The maximum of each box of `size` (ny, nx) pixels; rows and columns that do not fill a box are left out."""
    (py, px), (ny, nx, channels) = size, array.shape
    boxes = array[:ny//py*py, :nx//px*px].reshape(ny//py, py, nx//px, px, channels)
    return boxes.max(axis=3).max(axis=1)


def dense(array, kernel, bias, activation):
    """A fully connected layer: a vector of shape (n,) times a kernel of shape (n, units), plus the bias."""
    return activation(linear.matmul(array[None], kernel)[0]+bias)


def _activation(config):
    name = config.get("activation", "linear")
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _plain(config, **wanted):
    """Raise ValueError for an option whose value is not supported."""
    for name, values in wanted.items():
        value = config.get(name, values[0])
        if (tuple(value) if isinstance(value, list) else value) not in values:
            raise ValueError(f"its {name} is {value!r} where {values[0]!r} is needed")


def _kernel_and_bias(config, weights, shape, count):
    """Kernel and bias; the bias is zero if the layer has none. `shape` is the expected one, with None for unknown sides."""
    kernel, bias = (*weights, np.zeros(count, np.float32))[:2] if weights else (None, None)
    fits = kernel is not None and kernel.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, kernel.shape))
    if not fits or bias.shape != (count,) or len(weights) != 1+config.get("use_bias", True):
        raise ValueError(f"its weights have shapes {[w.shape for w in weights]}, which do not suit {count} units")
    return kernel, bias


def _conv2d(config, weights):
    _plain(config, data_format=("channels_last",), strides=((1, 1),), dilation_rate=((1, 1),), padding=("valid", "same"))
    kernel, bias = _kernel_and_bias(config, weights, (*config["kernel_size"], None, config["filters"]), config["filters"])
    return partial(convolved, kernel=kernel, bias=bias, same=config.get("padding") == "same", activation=_activation(config))


def _max_pooling(config, weights):
    size = tuple(config["pool_size"])
    _plain(config, data_format=("channels_last",), padding=("valid",), strides=(size, None))
    return partial(pooled, size=size)


def _dense(config, weights):
    kernel, bias = _kernel_and_bias(config, weights, (None, config["units"]), config["units"])
    return partial(dense, kernel=kernel, bias=bias, activation=_activation(config))


def _mean(config, weights):
    _plain(config, data_format=("channels_last",))
    return lambda array: array.mean(axis=(0, 1))


BUILDERS = {
    "Conv2D": _conv2d,
    "MaxPooling2D": _max_pooling,
    "GlobalAveragePooling2D": _mean,
    "Flatten": lambda config, weights: np.ravel,
    "Dense": _dense,
    "Activation": lambda config, weights: _activation(config),
    "Dropout": lambda config, weights: lambda array: array,
}
"""Builders by the Keras class name. Dropout acts only in training, so here it changes nothing."""

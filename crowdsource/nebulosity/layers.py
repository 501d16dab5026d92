"""Layers of a convolutional network as functions of one array, channels last, without the batch's axis.

Each builder takes what Keras 2 says of a layer and its weights, and gives the function; it raises ValueError where it cannot.
"""
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PATCH_VALUES = 2_000_000
"""A convolution gathers its patches for so many values at a time, which stay in the cache's reach."""
ACTIVATIONS = {
    "linear": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1/(1+np.exp(-a)),
    "softmax": lambda a: np.exp(a-a.max(axis=-1, keepdims=True))/np.exp(a-a.max(axis=-1, keepdims=True)).sum(-1, keepdims=True),
    "tanh": np.tanh,
}


def convolved(array, kernel, bias, same, activation):
    """A plane of channels correlated with kernels.

    Parameters
    ----------
    array : ndarray, shape (ny, nx, channels), float32
    kernel : ndarray, shape (ky, kx, channels, filters), float32
    bias : ndarray, shape (filters,), float32
    same : bool
        Pixels outside the plane count as zero, and the result has its shape; else only where the kernel fits in.
    activation : callable

    Returns
    -------
    ndarray, shape (ny, nx, filters), float32
        Smaller by the kernel's size less 1 where it must fit in.
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
        out[y:y+step] = activation(band.reshape(-1, len(flat)) @ flat+bias).reshape(len(band), nx, filters)
    return out


def pooled(array, size):
    """The largest value of each box of (ny, nx) pixels; rows and columns that fill no box are left out."""
    (py, px), (ny, nx, channels) = size, array.shape
    boxes = array[:ny//py*py, :nx//px*px].reshape(ny//py, py, nx//px, px, channels)
    return boxes.max(axis=3).max(axis=1)


def dense(array, kernel, bias, activation):
    """Products of a vector, shape (n,), with a kernel of shape (n, units)."""
    return activation(array @ kernel+bias)


def _activation(config):
    name = config.get("activation", "linear")
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _plain(config, **wanted):
    """Refuse options whose values are not those that can be run."""
    for name, values in wanted.items():
        value = config.get(name, values[0])
        if (tuple(value) if isinstance(value, list) else value) not in values:
            raise ValueError(f"its {name} is {value!r} where {values[0]!r} is needed")


def _kernel_and_bias(config, weights, shape, count):
    """The weights, with zeros for the bias of a layer without one; `shape` is the kernel's, None for sides not known."""
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
"""By Keras' name of the class; dropout works in training only."""

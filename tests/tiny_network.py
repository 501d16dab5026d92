"""A small network in the files of Keras 2, and a slow twin of what it computes."""
import json

import h5py
import numpy as np

SIDE = 16
KERNELS = dict(first=(3, 3, 1, 3), second=(2, 3, 3, 4), third=(3, 2, 4, 5), last=(5, 6), out=(6, 4))


def layer(kind, name, **config):
    return dict(class_name=kind, config=dict(name=name, **config))


def conv(name, padding, activation, bias=True):
    *size, _, filters = KERNELS[name]
    return layer("Conv2D", name, filters=filters, kernel_size=size, padding=padding, activation=activation, use_bias=bias,
                 strides=[1, 1], dilation_rate=[1, 1], data_format="channels_last")


def layers(classes=4):
    """Every kind of layer, kernels of odd and even sides, inside the plane and over its edges."""
    first = conv("first", "same", "relu")
    first["config"]["batch_input_shape"] = [None, SIDE, SIDE, 1]
    return [first, layer("MaxPooling2D", "pool", pool_size=[2, 2], strides=[2, 2], padding="valid"),
            conv("second", "same", "linear", bias=False), layer("Activation", "bend", activation="tanh"),
            conv("third", "valid", "relu"), layer("Dropout", "drop", rate=0.5), layer("GlobalAveragePooling2D", "mean"),
            layer("Flatten", "flat"), layer("Dense", "last", units=6, activation="sigmoid", use_bias=True),
            layer("Dense", "out", units=classes, activation="softmax", use_bias=True)]


def write_network(path, listed=None, seed=1, **changed):
    """A network's two files, and its weights by layer; `changed` replaces some of them."""
    listed = layers() if listed is None else listed
    path.with_suffix(".json").write_text(json.dumps(dict(class_name="Sequential", config=listed)))
    rng, weights = np.random.default_rng(seed), {}
    for one in listed:
        name = one["config"]["name"]
        shape = KERNELS.get(name)
        bias = [] if shape is None or not one["config"]["use_bias"] else [rng.normal(0, 0.3, shape[-1])]
        weights[name] = changed.get(name, [] if shape is None else [rng.normal(0, 0.5, shape), *bias])
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, arrays in weights.items():
            group = file.create_group(name)
            names = [f"{name}/{part}:0" for part in ("kernel", "bias")[:len(arrays)]]
            group.attrs["weight_names"] = np.array(names, dtype="S")
            for full, array in zip(names, arrays):
                group[full] = array.astype(np.float32)
    return weights


def slow(plane, weights):
    """The probabilities, by loops over pixels."""
    a = np.maximum(slow_conv(plane[:, :, None], weights["first"], "same"), 0)
    a = np.array([[a[2*y:2*y+2, 2*x:2*x+2].max(axis=(0, 1)) for x in range(a.shape[1]//2)] for y in range(a.shape[0]//2)])
    a = np.tanh(slow_conv(a, weights["second"], "same"))
    a = np.maximum(slow_conv(a, weights["third"], "valid"), 0).mean(axis=(0, 1))
    a = 1/(1+np.exp(-(a @ weights["last"][0]+weights["last"][1])))
    a = np.exp(a @ weights["out"][0]+weights["out"][1])
    return a/a.sum()


def slow_conv(a, weights, padding):
    kernel, bias = weights[0], weights[1] if len(weights) > 1 else 0
    (ky, kx, _, filters), (ny, nx, _) = kernel.shape, a.shape
    if padding == "same":
        wide = np.zeros((ny+ky-1, nx+kx-1, a.shape[2]))
        wide[(ky-1)//2:(ky-1)//2+ny, (kx-1)//2:(kx-1)//2+nx] = a
        a = wide
    out = np.zeros((a.shape[0]-ky+1, a.shape[1]-kx+1, filters))
    for y, x in np.ndindex(out.shape[:2]):
        for f in range(filters):
            out[y, x, f] = (a[y:y+ky, x:x+kx]*kernel[:, :, :, f]).sum()
    return out+bias

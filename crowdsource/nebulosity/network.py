"""Run convolutional networks in numpy: Sequential models of Keras 2, described in JSON with weights in HDF5."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError
from ..io.bounded import read_json
from ..io.hdf5 import check_datasets
from .layers import BUILDERS

ENDINGS = ".json", ".h5"


@dataclass(frozen=True)
class Network:
    """A network that computes class probabilities of an image.

    Attributes
    ----------
    layers : tuple of callable
        Each layer takes the output of the layer before it; see `crowdsource.nebulosity.layers`.
    shape : tuple of int
        (ny, nx) of the images that it takes, pixels.
    """

    layers: tuple
    shape: tuple

    def __call__(self, plane):
        """Class probabilities, shape (classes,), float32, of an image of shape `shape`."""
        array = np.asarray(plane, dtype=np.float32)[:, :, None]
        for layer in self.layers:
            array = layer(array)
        return array


def files(path):
    """The paths (.json, .h5) of a network, from either of them. Both files must exist.

    Raises
    ------
    DataFileError
        When the file name has another suffix or a file is missing.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise DataFileError(path, "is no network: give the .json that describes it or the .h5 with its weights")
    both = tuple(path.with_suffix(ending) for ending in ENDINGS)
    for one in both:
        if not one.is_file():
            raise DataFileError(one, "there is no such file; a network's .json and .h5 must lie side by side")
    return both


def read_network(path, classes):
    """Read a network from a JSON file and the HDF5 file in the same folder. No code from the files is executed.

    Parameters
    ----------
    path : path-like
        Either of the two files.
    classes : collection of int
        Accepted numbers of classes.

    Returns
    -------
    Network

    Raises
    ------
    DataFileError
        When a file is missing or was not written by Keras 2, or a layer is not supported.
    """
    described, stored = files(path)
    listed = _listed(described)
    weights = _weights(stored, [layer["config"]["name"] for layer in listed])
    layers = tuple(_layer(described, layer, w) for layer, w in zip(listed, weights))
    network = Network(layers, tuple(listed[0]["config"]["batch_input_shape"][1:3]))
    try:
        given = network(np.zeros(network.shape)).shape
    except (ValueError, IndexError) as problem:
        raise DataFileError(stored, f"holds weights whose shapes do not go together ({problem}); give those of "
                            f"{described.name}") from problem
    if len(given) != 1 or given[0] not in classes:
        raise DataFileError(described, f"gives an array of shape {given} where {' or '.join(map(str, sorted(classes)))} "
                            "probabilities are needed; give another network")
    return network


def _listed(path):
    """The layers of a Sequential model as described in the JSON file, without input layers."""
    try:
        model = read_json(path)
        kind, layers = model["class_name"], model["config"]
        layers = layers if isinstance(layers, list) else layers["layers"]
        _, ny, nx, planes = layers[0]["config"]["batch_input_shape"]
        names = [layer["config"]["name"] for layer in layers]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as problem:
        raise DataFileError(path, f"is no network that Keras 2 wrote as JSON ({problem!r}); give another") from problem
    if kind != "Sequential" or len(set(names)) < len(names) or planes != 1 or not (isinstance(ny, int) and isinstance(nx, int)):
        raise DataFileError(path, f"is a {kind} network for {ny} x {nx} pixels of {planes} planes; a Sequential one for a single "
                            "plane of given size is needed")
    return [layer for layer in layers if layer["class_name"] != "InputLayer"]


def _weights(path, names):
    """The weights of each named layer, as lists of float32 arrays in the order of Keras."""
    import h5py
    check_datasets(path, path)
    try:
        with h5py.File(path) as file:
            groups = file.get("model_weights", file)
            return [[np.array(groups[name][w.decode() if isinstance(w, bytes) else w], dtype=np.float32)
                     for w in groups[name].attrs["weight_names"]] for name in names]
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise DataFileError(path, f"holds no weights of the network beside it ({problem}); give those that belong to "
                            f"{path.with_suffix('.json').name}") from problem


def _layer(path, described, weights):
    """The function of a layer. Raises DataFileError, which names the file and the layer, if it is not supported."""
    kind, config = described["class_name"], described["config"]
    if kind not in BUILDERS:
        raise DataFileError(path, f"layer {config['name']} is a {kind}, which cannot be run: known are {', '.join(BUILDERS)}")
    try:
        return BUILDERS[kind](config, weights)
    except (ValueError, KeyError, TypeError) as problem:
        raise DataFileError(path, f"layer {config['name']} cannot be run: {problem}") from problem

"""What a fit of no field of stars takes beside one of a crowded field of the same size; prints Markdown.

    python -m benchmarks.studies.endless [--sides 128 512 1024] [--inputs NAME ...] [--most SECONDS]

Each fit is a process of its own and is stopped after --most CPU seconds. The crowded field has 20,000 stars above five sigma in
1,024 x 1,024 px.
"""
import argparse
import resource
import signal
import sys
import time
from multiprocessing import get_context

import numpy as np
from scipy import ndimage

import crowdsource as cs
from benchmarks.shared import table
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SimulationConfig, simulate_field

DENSITY = 20_000/1024**2
"""Stars above five sigma in a pixel."""
NOISE = 5.


def crowded(side):
    """A crowded field."""
    config = SimulationConfig(shape=(side, side), stars=DENSITY*side**2, seed=7, nebulosity=0., saturated_stars=0)
    return simulate_field(config).image()


def arrays(side):
    """Pixels and inverse variances of a crowded field."""
    image = crowded(side)
    return image.data.copy(), image.ivar.copy()


def of_arrays(data, ivar):
    """The arguments of a fit of these."""
    return dict(image=cs.Image.from_arrays(data.astype(np.float32), ivar=ivar.astype(np.float32), saturation=1e12),
                trust_noise=True)


def flat(data):
    """Inverse variances of the noise that is added."""
    return np.full(data.shape, NOISE**-2)


def heavy(side):
    data, ivar = arrays(side)
    return of_arrays(data, ivar*1e6)


def itself(side):
    data, _ = arrays(side)
    return of_arrays(data, np.maximum(data, 0))


def some_heavy(side):
    data, ivar = arrays(side)
    ivar[::2, ::2] *= 1e6
    return of_arrays(data, ivar)


def cauchy(side):
    data = np.random.default_rng(1).standard_cauchy((side, side))*NOISE
    return of_arrays(data, flat(data)) | dict(psf=FieldPSF.moffat(data.shape, 4.))


def ramp(side):
    data = np.random.default_rng(2).normal(0, NOISE, (side, side))+np.arange(side)*3e4
    return of_arrays(data, flat(data))


def ripples(side):
    y, x = np.indices((side, side))
    data = np.random.default_rng(3).normal(0, NOISE, (side, side))+2e3*np.sin(x/3.)*np.sin(y/4.)
    return of_arrays(data, flat(data))


def texture(side):
    data = ndimage.gaussian_filter(np.random.default_rng(4).normal(0, 1e5, (side, side)), 1.7)
    return of_arrays(data, flat(data))


def clouds(side):
    rng = np.random.default_rng(5)
    data = sum(ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), s)*s*1e4 for s in (2, 4, 8, 16))
    return of_arrays(data, flat(data))


def stripes(side):
    rng = np.random.default_rng(6)
    data, ivar = arrays(side)
    rows = np.repeat(rng.random((side, side//8+1)) < 0.5, 8, axis=1)[:, :side]
    return of_arrays(data, np.where(rows, 0, ivar*100))


def wide_psf(side):
    data, ivar = arrays(side)
    return of_arrays(data, ivar) | dict(psf=FieldPSF.moffat((side, side), 60.))


INPUTS = {"weights a million times too large": heavy, "the image as its weights": itself,
          "a quarter of the weights so": some_heavy, "Cauchy noise, PSF given": cauchy, "a steep ramp": ramp,
          "ripples": ripples, "a texture like stars": texture, "clouds": clouds,
          "half of the pixels masked, noise a tenth": stripes, "a PSF 60 px wide": wide_psf}


def _fit(pipe, make, side):
    given = make(side)
    start = time.process_time()
    try:
        result = cs.fit(**given)
        told = " ".join(f for f in result.image.findings if "more work" in f)
        pipe.send((time.process_time()-start, len(result.catalog), told))
    except cs.CrowdsourceError as error:
        pipe.send((time.process_time()-start, 0, str(error)))


def fitted(make, side, most):
    """CPU seconds, rows, what was told, and memory, MB, of a fit in a process of its own."""
    context = get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (int(most), int(most)+1))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        _fit(send, make, side)

    process = context.Process(target=limited)
    process.start()
    send.close()
    try:
        answer = receive.recv()
    except EOFError:
        answer = most, 0, "stopped"
    process.join()
    if answer[2] == "stopped" and process.exitcode != -signal.SIGXCPU:
        raise RuntimeError(f"the fit ended with status {process.exitcode}")
    return answer


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--inputs", nargs="+", default=list(INPUTS), choices=INPUTS, metavar="NAME")
    parser.add_argument("--most", type=float, default=600.)
    options = parser.parse_args()
    rows = []
    for side in options.sides:
        normal, count, _ = fitted(lambda n: dict(image=crowded(n)), side, options.most)
        rows.append([side, "a crowded field", f"{normal:.1f}", "1.0", count, ""])
        for name in options.inputs:
            cpu, count, told = fitted(INPUTS[name], side, options.most)
            rows.append([side, name, f"{cpu:.1f}", f"{cpu/normal:.1f}", count, told])
            print(*rows[-1], file=sys.stderr, flush=True)
    sys.stdout.write(table(("side, px", "input", "CPU s", "ratio", "rows", "what was told"), rows)+"\n")


if __name__ == "__main__":
    main()

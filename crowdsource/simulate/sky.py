"""Sky of a simulated field."""
import numpy as np
from scipy import ndimage

from .config import generator_of

EDGE = 12
"""The scale of a local nebula's outline is the longer side of the image divided by this."""
RIDGE = 0.3
"""Width of a filament, in standard deviations of the random field whose zeros it follows."""
HAZE, FILAMENTS, CLUMPS = 0.15, 0.55, 0.3
"""Parts of a local nebula's highest level: everywhere in it, along its filaments, and in its clumps."""
SAMPLES = 3
"""Grid points in a scale of a random field."""

def draw_sky(config, rng):
    """Sky with a gradient and random structure whose power falls steeply with spatial frequency, counts, (ny, nx)."""
    c = config
    ny, nx = c.shape
    v, u = np.meshgrid(np.linspace(-0.5, 0.5, ny), np.linspace(-0.5, 0.5, nx), indexing="ij")
    sky = c.sky*(1+c.sky_gradient[0]*u+c.sky_gradient[1]*v)
    if c.nebulosity <= 0:
        return sky
    # computed on twice the image's size, so that the structure is not periodic in it
    k = np.hypot(np.fft.fftfreq(2*ny)[:, None], np.fft.rfftfreq(2*nx)[None, :])
    amplitude = np.where(k > 0, np.maximum(k, 0.5/max(ny, nx))**-1.5, 0)*np.exp(-0.5*(k*c.nebulosity_scale)**2)
    wave = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(2*ny, 2*nx)))*amplitude, s=(2*ny, 2*nx))[:ny, :nx]
    return np.maximum(sky+c.nebulosity*(wave-wave.mean())/wave.std(), 0)


def draw_nebula(config):
    """Local nebulae: patches with sharp filaments and clumps, counts, exactly 0 elsewhere; None when there are none.

    Filaments follow the zeros of a random field with structure from the finest to the coarsest scale.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    c = config
    if c.nebula_area == 0:
        return None
    rng = generator_of(c, "nebula")
    where = outline(c.shape, c.nebula_area, rng)
    fine, coarse = c.nebula_scales
    scales = np.geomspace(coarse, fine, 3)
    # the spectrum falls with frequency: each scale has half of the power of the next coarser one
    web = sum(2**(-0.5*k)*random_field(c.shape, scale, rng) for k, scale in enumerate(scales))
    web = np.exp(-0.5*(web/(RIDGE*web.std()))**2)
    clumps = np.clip(0.5+0.5*random_field(c.shape, coarse/2, rng), 0, 1)
    return np.float32(c.nebula_peak)*where*(HAZE+FILAMENTS*web+CLUMPS*clumps)


def outline(shape, area, rng):
    """A plane that is 0 outside of a few patches and rises smoothly to 1 in them, (ny, nx), float32."""
    height = random_field(shape, max(shape)/EDGE, rng)
    shore = np.quantile(height, 1-area)
    rise = np.clip((height-shore)/(0.4*(height.max()-shore)), 0, 1)
    return rise*rise*(3-2*rise)


def random_field(shape, scale, rng):
    """White noise smoothed by a Gaussian of a scale in pixels, with mean 0 and standard deviation 1, (ny, nx), float32."""
    step = max(1., scale/SAMPLES)
    coarse = [int(np.ceil(length/step))+2 for length in shape]
    noise = ndimage.gaussian_filter(rng.normal(size=coarse), scale/step, mode="wrap").astype(np.float32)
    smooth = ndimage.zoom(noise, [(length+1)/n for length, n in zip(shape, coarse)], order=3, mode="nearest")
    smooth = smooth[:shape[0], :shape[1]]
    return (smooth-smooth.mean())/smooth.std()

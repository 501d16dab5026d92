"""Slow twins of the kernels of `artifacts`, in numpy: what the tests compare them with."""
import numpy as np


def standing_out(light, error, least, significant, shape_error, fall, out):
    """Twin of `artifacts.standing_out`."""
    light, error = np.asarray(light, float), np.asarray(error, float)
    for y, x in zip(*np.nonzero(light > least*error)):
        tests, nearest = [], []
        for k, (j, i) in enumerate(((0, 1), (1, 0), (1, 1), (1, -1))):
            ends = [(y+j, x+i), (y-j, x-i)]
            if not all(0 <= a < len(light) and 0 <= b < light.shape[1] and np.isfinite(error[a, b]) for a, b in ends):
                continue
            beside, noise = (np.array([plane[e] for e in ends]) for plane in (light, error))
            tests.append((1, fall[k, 0], beside.mean(), (noise**2).sum()/4))
            nearest += [*zip(beside, noise)] if k < 2 else []
            if k == 1 and len(nearest) == 4:
                values, errors = np.transpose(nearest)
                tests.append((1, fall[:2, 0].mean(), values.mean(), (errors**2).sum()/16))
            if light[y, x] >= beside.max():
                tests.append((1.25, fall[k, 1], beside.min(), noise[beside.argmin()]**2))
        for factor, part, mean, variance in tests:
            expected = part*light[y, x]
            limit = factor*significant*np.sqrt((part*error[y, x])**2+variance+(shape_error*expected)**2)
            out[y, x] |= expected-mean > limit


def dips(light, error, significant, depth, out):
    """Twin of `artifacts.dips`."""
    light = np.where(np.isfinite(error), np.asarray(light, float), np.inf)
    for y in range(1, len(light)-1):
        for x in range(1, light.shape[1]-1):
            box = light[y-1:y+2, x-1:x+2].copy()
            box[1, 1] = np.inf
            lowest = box.min()
            if np.isfinite(error[y, x]) and np.isfinite(lowest):
                out[y, x] |= lowest-light[y, x] > significant*np.sqrt(2)*error[y, x]+depth*max(lowest, 0)


def any_beside(light, error, low, high):
    """Twin of `artifacts.any_beside`."""
    bright, dark = light > high*error, np.isfinite(error) & (light < low*np.where(np.isfinite(error), error, 0))
    padded = np.pad(dark, 1)
    near = np.any([padded[j:j+len(dark), i:i+dark.shape[1]] for j in range(3) for i in range(3)], axis=0)
    return bool((bright & near).any())


def axis_widths(light, y, x, up, right, reach):
    """Twin of `artifacts.axis_widths`."""
    padded, out = np.pad(light, reach, mode="edge"), np.zeros(len(y))
    for n, (j, i) in enumerate(zip(y, x)):
        for sign in (1, -1):
            profile = np.array([padded[j+reach+sign*k*up, i+reach+sign*k*right] for k in range(reach)])/light[j, i]
            low = np.flatnonzero(~(profile >= 0.5))
            k = low[low > 0][0] if (low > 0).any() else 0
            before = 1 if k == 1 else profile[k-1]
            out[n] += k-1+(before-0.5)/max(float(before-profile[k]), 1e-9) if k else np.nan
    return out


def most_votes(x, y, reach, step, directions):
    """Twin of `artifacts.most_votes`."""
    angle = np.arange(directions)[:, None]*np.pi/directions
    stripe = ((x*np.cos(angle)+y*np.sin(angle)+reach)/step).astype(int)
    votes = np.array([np.bincount(row, minlength=int(2*reach/step)+2) for row in stripe])
    pairs = votes[:, :-1]+votes[:, 1:]
    return int(pairs.max()), *(int(k) for k in np.unravel_index(pairs.argmax(), pairs.shape))

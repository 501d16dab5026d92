"""Tiles of the field of a joint fit: parts of the reference, each fitted by itself on cut-outs of the images that show it.

A tile is fitted with a margin around it, and keeps the stars that lie in it.
"""
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from .frame import Frame

MARGIN = 50.
"""Around a tile, reference pixels: stars of the tile have all of their neighbours, and most of the light of bright ones."""
SPARE = 0.25
"""Part of a tile's side: images that are shifted against each other show a little more than one of them."""
LEAST_SIDE = 256
"""Side of a cut-out at least, pixels: fewer do not show a PSF and a sky."""
POINTS = 12
"""Along each axis of an image at which its frame is looked at."""
OUTLINE = 64
"""Parts of each side of a tile whose ends are looked for on an image."""


@dataclass(frozen=True, kw_only=True)
class FieldTile:
    """A part of the reference: low <= position < high.

    Attributes
    ----------
    name : str
    low, high : tuple of float
        (u, v), pixels.
    """

    name: str
    low: tuple
    high: tuple

    def depth(self, u, v):
        """How far inside the tile reference positions are, pixels; negative outside."""
        return np.minimum.reduce([u-self.low[0], self.high[0]-u, v-self.low[1], self.high[1]-v])

    def shows(self, frame, shape):
        """The box (x0, x1, y0, y1) of an image that shows the tile and its margin; None where it does not.

        Parameters
        ----------
        frame : Frame
            From the reference to the image.
        shape : tuple of int
            (ny, nx) of the image.
        """
        x, y = pixel_grid(shape)
        u, v = frame.inverse(x, y)
        inside = self.depth(u, v) > -MARGIN
        # where the image begins and ends within a tile, or a tile within the image
        low, high = (np.clip(np.add(end, sign*MARGIN), *np.sort([(c.min(), c.max()) for c in (u, v)]).T)
                     for end, sign in ((self.low, -1), (self.high, 1)))
        if (low >= high).any():
            return None
        side = np.linspace(low, high, OUTLINE+1).T
        of_u, of_v = np.concatenate([np.stack([side[0], np.full(OUTLINE+1, end[1])]) for end in (low, high)]
                                    +[np.stack([np.full(OUTLINE+1, end[0]), side[1]]) for end in (low, high)], axis=1)
        tx, ty = frame(of_u, of_v)
        on = (tx >= -0.5) & (tx <= shape[1]-0.5) & (ty >= -0.5) & (ty <= shape[0]-0.5)
        x, y = np.r_[x[inside], tx[on]], np.r_[y[inside], ty[on]]
        if not len(x):
            return None
        step = 1+max(high-low)*frame.scale/OUTLINE
        return tuple(end for values, n in ((x, shape[1]), (y, shape[0]))
                     for end in _widened(values.min()-step, values.max()+step, n))


def _widened(low, high, side):
    """Whole numbers that enclose a range, at least `LEAST_SIDE` apart as far as the image reaches."""
    low, high = max(0, int(low)), min(side, ceil(high)+1)
    more = max(0, LEAST_SIDE-(high-low))
    low = max(0, low-more//2)
    high = min(side, max(high, low+LEAST_SIDE))
    return max(0, min(low, high-LEAST_SIDE)), high


def pixel_grid(shape):
    """Positions x, y of points all over an image, its corners among them."""
    y, x = (g.ravel() for g in np.meshgrid(*(np.linspace(-0.5, n-0.5, POINTS) for n in shape), indexing="ij"))
    return x, y


def cut_frame(frame, box):
    """The frame of the part (x0, x1, y0, y1) of an image: the same polynomial, expanded in its middle."""
    x0, x1, y0, y1 = box
    x, y = pixel_grid((y1-y0, x1-x0))
    u, v = frame.inverse(x+x0, y+y0)
    return Frame.fitted(u, v, x, y, frame.degree)[0]


def field_tiles(frames, shapes, side):
    """Tiles of equal size over what images show, by rows; the outer ones reach as far as stars may lie.

    Parameters
    ----------
    frames : sequence of Frame
    shapes : sequence of tuple of int
        (ny, nx) of the images.
    side : float
        Of a tile, reference pixels; `SPARE` of it more, divided among all, makes no further tile.

    Returns
    -------
    list of FieldTile
    """
    corners = np.concatenate([np.stack(f.inverse(*pixel_grid(s)), axis=1) for f, s in zip(frames, shapes)])
    edges = []
    for a, b in zip(corners.min(axis=0), corners.max(axis=0)):
        edges.append(np.linspace(a, b, max(1, ceil((b-a)/side-SPARE))+1).tolist())
        edges[-1][0], edges[-1][-1] = -np.inf, np.inf
    u, v = edges
    return [FieldTile(name=f"tile-{row:02d}-{column:02d}", low=(u[column], v[row]), high=(u[column+1], v[row+1]))
            for row in range(len(v)-1) for column in range(len(u)-1)]


def within(result, tile, origin, slack):
    """The part of a `JointResult` whose objects lie in a tile, or no farther outside than a slack.

    Parameters
    ----------
    result : crowdsource.joint.results.JointResult
    tile : FieldTile
    origin : tuple of int
        Of the reference, as `crowdsource.joint.reference.Reference.origin`.
    slack : float
        Reference pixels.
    """
    u, v = (np.asarray(result.objects[axis].value)-o for axis, o in zip("xy", origin))
    objects = result.objects[tile.depth(u, v) >= -slack]
    ids = np.asarray(objects["object_id"])
    fits = tuple(replace(f, catalog=f.catalog[np.isin(np.asarray(f.catalog["object_id"]), ids)]) for f in result.fits)
    curves = result.light_curves[np.isin(np.asarray(result.light_curves["object_id"]), ids)]
    return replace(result, objects=objects, light_curves=curves, fits=fits)


def on_borders(tiles, objects, reach):
    """Which of the stars that tiles have found are to be kept, so that none at a border is there twice or never.

    A star that several tiles have is that of the tile in which it lies deepest; one outside its tile needs another that has it.

    Parameters
    ----------
    tiles : sequence of FieldTile
    objects : sequence of ndarray, shape (n, 2)
        Reference positions of the stars of each tile.
    reach : float
        Two stars of different tiles that are nearer to each other than this are one, pixels.

    Returns
    -------
    list of ndarray of bool
    """
    from scipy.spatial import cKDTree
    owner = np.repeat(np.arange(len(tiles)), [len(o) for o in objects])
    place = np.concatenate(objects) if objects else np.empty((0, 2))
    depth = np.concatenate([t.depth(*o.T) for t, o in zip(tiles, objects)]) if objects else np.empty(0)
    keep, near = depth >= 0, np.flatnonzero(depth < 2*reach)
    tree = cKDTree(place[near])
    pairs = near[tree.query_pairs(reach, output_type="ndarray")]
    partners = {}
    for a, b in pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]:
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    kept = set()
    for star in sorted(partners, key=lambda k: (-depth[k], k)):
        keep[star] = kept.isdisjoint(partners[star])
        if keep[star]:
            kept.add(star)
    return np.split(keep, np.cumsum([len(o) for o in objects])[:-1])

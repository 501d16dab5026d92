"""Damage to FITS files: of what they hold, of the cards of their headers, of their bytes, and of what lies under their names."""
import os
from dataclasses import replace

import fuzz_cards
import numpy as np

BLOCK, CARD = 2880, 80
HTML = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"
DTYPES = "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"


def of_pixels(rng, files):
    """Change the pixels of a plane: their values, their type, or their shape."""
    places = [(f, k) for f in files for k, p in enumerate(f.planes) if p.data is not None]
    if not places:
        return
    file, number = places[rng.integers(len(places))]
    plane = file.planes[number]
    change = rng.choice([_values, _values, _type, _reshaped, _structure])
    if plane.data.dtype.names is not None:
        file.planes[number] = replace(plane, data=plane.data[:0])
    elif plane.data.size and plane.data.ndim > 1:
        with np.errstate(all="ignore"):
            file.planes[number] = change(rng, plane)


def _values(rng, plane):
    data, shape = plane.data.astype(np.float32), plane.data.shape
    some = rng.random(shape) < rng.choice([0.001, 0.1, 0.9])
    odd = rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38, 3e38, 0, -1, 1e-40, 1e30, -1e9, 2**31, 255, 1e12, -2**31])
    last = rng.integers(0, shape[0])
    new = [lambda: np.full(shape, odd), lambda: np.where(some, odd, data),
           lambda: data*rng.choice([1e30, 1e-30, 1e12, -1, 0, 1e-12]), lambda: data+rng.choice([1e8, 1e12, -1e6]),
           lambda: np.where(np.indices(shape).sum(axis=0) % 2, odd, data),
           lambda: np.full(shape, np.median(data)), lambda: rng.normal(0, 10**rng.uniform(-40, 38), shape),
           lambda: np.where(np.arange(shape[0])[:, None] > last, odd, data), lambda: np.minimum(data, np.quantile(data, 0.9)),
           lambda: np.arange(data.size).reshape(shape), lambda: np.random.default_rng(last).integers(-2**31, 2**31, shape)]
    data = np.asarray(new[rng.integers(len(new))]()).astype(np.float32)
    kept = plane.data.dtype if rng.random() < 0.7 else np.dtype(np.float32)
    return replace(plane, data=data.astype(kept))


def _type(rng, plane):
    dtype = np.dtype(rng.choice(DTYPES))
    if dtype.kind == "c":
        # images cannot be complex; tables can
        return replace(plane, data=np.zeros(plane.data.shape[0], [("DATA", dtype, plane.data.shape[1:])]))
    return replace(plane, data=plane.data.astype(dtype))


def _reshaped(rng, plane):
    d = plane.data
    new = [lambda: d[None], lambda: np.stack([d, d]), lambda: d[None, None, None], d.ravel, lambda: d[:1], lambda: d[:, :1],
           lambda: d[:1, :1], lambda: d[:2, :2], lambda: d[:3, :3], lambda: d[:5], lambda: d[:, :2], lambda: d[:, 1:],
           lambda: d[:0], lambda: d.T, lambda: np.pad(d, 1), lambda: d[:, :0], lambda: d[:7, :9], lambda: np.tile(d, (1, 9)),
           lambda: np.concatenate([d, d])[None]]
    return replace(plane, data=np.ascontiguousarray(new[rng.integers(len(new))]()))


def _structure(rng, plane):
    rows = np.zeros(3, [("a", "f4"), ("b", "S5")])
    new = [replace(plane, data=None), replace(plane, data=rows), replace(plane, name=""), replace(plane, name="OTHER"),
           replace(plane, data=rows[:0]), replace(plane, header={})]
    return new[rng.integers(len(new))]


def headers(content):
    """(start, cards end, end) of each header in a sound file, bytes."""
    found, at = [], 0
    while at < len(content):
        if content[at:at+8] in (b"SIMPLE  ", b"XTENSION"):
            stop = next((k for k in range(at, len(content), CARD) if content[k:k+CARD].rstrip() == b"END"), None)
            if stop is None:
                break
            end = at-(at-stop-CARD)//BLOCK*BLOCK
            found.append((at, stop, end))
            at = end
        else:
            at += BLOCK
    return found


def of_cards(rng, content):
    """Change a header: cards replaced, added, removed, doubled or moved."""
    places = headers(content)
    if not places:
        return of_bytes(rng, content)
    start, stop, end = places[rng.integers(len(places))]
    cards = [content[k:k+CARD] for k in range(start, stop, CARD)]
    ending = [b"END".ljust(CARD)]
    what = rng.random()
    if what < 0.72:
        table = fuzz_cards.KINDS[rng.integers(len(fuzz_cards.KINDS))]
        keyword = _one(rng, [k for k in table if any(c.startswith(k.encode().ljust(8)) for c in cards)] or list(table)) \
            if rng.random() < 0.6 else _one(rng, list(table))
        _put(cards, fuzz_cards.card(keyword, _one(rng, table[keyword])))
    elif what < 0.82:
        cards.insert(rng.integers(1, len(cards)+1), _one(rng, fuzz_cards.RAW).ljust(CARD)[:CARD])
    elif what < 0.86:
        keyword = _one(rng, ["EXTNAME", "FILTER", "CTYPE1", "GAIN", "BUNIT", "LONGTEXT"])
        cards = [c for c in cards if not c.startswith(keyword.encode().ljust(8))]+[
            c.ljust(CARD)[:CARD] for c in fuzz_cards.continued(keyword)]
    elif what < 0.91:
        del cards[rng.integers(len(cards))]
    elif what < 0.94:
        cards.insert(rng.integers(len(cards)+1), cards[rng.integers(len(cards))])
    elif what < 0.96:
        cards += [b"COMMENT  nothing".ljust(CARD)]*int(rng.integers(1, 4000))
    elif what < 0.98:
        ending = []
    else:
        cards = [cards[k] for k in rng.permutation(len(cards))]
    text = b"".join(cards+ending)
    return content[:start]+text.ljust(-(-len(text)//BLOCK)*BLOCK)+content[end:]


def _one(rng, values):
    return values[rng.integers(len(values))]


def _put(cards, new):
    """Replace a card, or add it."""
    at = next((k for k, c in enumerate(cards) if c[:8] == new[:8]), None)
    if at is None or new.startswith(b"HIERARCH"):
        cards.append(new)
    else:
        cards[at] = new


def of_bytes(rng, content):
    """Cut the file, turn bits, or lose, double or overwrite a part."""
    size = len(content)
    if not size:
        return content
    at, block = int(rng.integers(size)), int(rng.integers(-(-size//BLOCK)))*BLOCK
    what = rng.random()
    if what < 0.25:
        return content[:at]
    if what < 0.4:
        return content[:block]
    if what < 0.8:
        spans = headers(content)
        pixels = [(end, min(end+BLOCK, size)) for *_, end in spans if end < size]
        low, high = _one(rng, [(0, size), *((s, e) for s, e, _ in spans), *pixels])
        turned = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(low, max(high, low+1), int(10**rng.uniform(0, 1.8)))
        turned[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
        return turned.tobytes()
    length = _one(rng, [1, CARD, BLOCK])
    filled = _one(rng, [b"", b"\0"*length, b"\xff"*length, b" "*length, rng.bytes(length), content[block:block+length]*2])
    return content[:block]+filled+content[block+length:]


def _fifo(path):
    os.mkfifo(path)


def _broken(path):
    path.mkdir()
    (path/"a.fits").write_bytes(b"")


def _loop(path):
    path.symlink_to(path.name)


FOREIGN = {
    "empty": lambda path: path.write_bytes(b""), "folder": lambda path: path.mkdir(),
    "text": lambda path: path.write_text("no FITS\n"),
    "html": lambda path: path.write_bytes(HTML), "dangling": lambda path: path.symlink_to("nowhere.fits"), "loop": _loop,
    "absent": lambda path: None, "fifo": _fifo, "device": lambda path: path.symlink_to("/dev/zero"), "full folder": _broken,
    "null": lambda path: path.symlink_to("/dev/null"), "simple": lambda path: path.write_bytes(b"SIMPLE  =                    T"),
    "zeros": lambda path: path.write_bytes(bytes(10*BLOCK)), "gzip": lambda path: path.write_bytes(b"\x1f\x8b\x08\x00"),
    "spaces": lambda path: path.write_bytes(b" "*BLOCK*3), "bz2": lambda path: path.write_bytes(b"BZh91AY&SY"),
    "zip": lambda path: path.write_bytes(b"PK\x03\x04"+bytes(30)), "xz": lambda path: path.write_bytes(b"\xfd7zXZ\x00\x00\x04"),
}
"""What may lie where a FITS file should, by what it is."""

"""Catalogs of joint fits in a store: stars keep their identity, and fits with the same numbers are told apart."""
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from small_epochs import FIELD, small_epochs

from crowdsource.cli.main import main
from crowdsource.survey.objects.assemble import assemble
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import create_store

SCALE, ZEROPOINT, IMAGES = 0.26/3600, 25., 5
FITS = (0, 1), (2, 3)
"""Images of two joint fits; the last image is fitted alone."""


def header_of(truth, epoch):
    """A header whose world coordinates are those of the reference's pixels, a TAN projection."""
    design = np.c_[epoch.x, epoch.y, np.ones(len(truth))]
    change = np.linalg.lstsq(design, np.c_[truth["x"], truth["y"]]-100., rcond=None)[0].T
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150., 2.]
    wcs.wcs.cd = change[:, :2]*SCALE*np.array([[-1], [1]])
    wcs.wcs.crpix = np.linalg.solve(change[:, :2], -change[:, 2])+1
    header = wcs.to_header()
    header.update(FILTER="r", MAGZERO=ZEROPOINT)
    header["MJD-MID"] = epoch.mjd
    return header


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two joint fits, and a catalog of one image alone."""
    folder = tmp_path_factory.mktemp("joint")
    truth, epochs = small_epochs(images=IMAGES)
    for k, epoch in enumerate(epochs):
        image = fits.PrimaryHDU(epoch.simulation.data, header_of(truth, epoch))
        fits.HDUList([image, fits.ImageHDU(epoch.simulation.ivar, name="IVAR")]).writeto(folder/f"night{k}.fits")
    for number, which in enumerate(FITS):
        options = "--option", "ivar={path}:IVAR", "--option", f"gain={FIELD.gain:g}"
        images = [str(folder/f"night{k}.fits") for k in which]
        assert main(["joint", *images, *options, "--out-dir", str(folder/f"fit{number}"), "--quiet"]) == 0
    alone = str(folder/f"night{IMAGES-1}.fits")
    assert main(["generic", alone, "--ivar", alone+":IVAR", "--gain", f"{FIELD.gain:g}", "--out", str(folder/"alone.cat.fits"),
                 "--quiet"]) == 0
    return folder


@pytest.fixture
def store(folder, tmp_path):
    store = create_store(tmp_path/"sky", bands=["r"])
    catalogs = [str(folder/name) for name in ("fit0", "fit1", "alone.cat.fits")]
    assert main(["healpix", "ingest", str(store.path), *catalogs, "--quiet"]) == 0
    assert len(store.snapshot().images) == IMAGES
    return store


def rows_of(store):
    return [t for p in store.snapshot().pixels for t in store.snapshot().read(p)]


def test_detections_keep_the_number_of_their_fit_and_of_their_star(folder, store):
    numbers = [fits.getheader(folder/f"fit{k}"/"objects.fits")["JOINTFIT"] for k in range(len(FITS))]
    assert numbers[0] != numbers[1] and min(numbers) > 0
    for number, which in zip(numbers, FITS):
        for k in which:
            path = folder/f"fit{numbers.index(number)}"/f"night{k}.cat.fits"
            assert fits.getheader(path)["JOINTFIT"] == number
            catalog = fits.getdata(path, "CAT")
            stars = dict(zip(catalog["detection_id"].tolist(), catalog["object_id"].tolist()))
            for rows in rows_of(store):
                mine = rows[np.isin(rows["detection_id"], list(stars))]
                if len(mine):
                    assert (mine["joint_fit"] == number).all() and "object_id" not in rows.dtype.names
                    assert mine["joint_id"].tolist() == [stars[d] for d in mine["detection_id"].tolist()]
                    stars = {d: s for d, s in stars.items() if d not in mine["detection_id"]}
            assert not stars


def test_a_star_of_a_fit_is_one_object_and_two_of_a_fit_never_are(folder, store):
    release = assemble(store, "one")
    objects, members = (np.concatenate([read(p) for p in release.pixels]) for read in (release.objects, release.members))
    owner = dict(zip(members["detection_id"].tolist(), members["object_id"].tolist()))
    stars = {}
    for rows in rows_of(store):
        if "joint_fit" in rows.dtype.names:
            for d, fit, star in zip(*(rows[n].tolist() for n in ("detection_id", "joint_fit", "joint_id"))):
                stars.setdefault((fit, star), set()).add(owner[d])
    assert all(len(o) == 1 for o in stars.values())
    of_fit = [(fit, *o) for (fit, _), o in stars.items()]
    assert len(of_fit) == len(set(of_fit)) > 200
    # and stars of one fit are those of the other, and of the image alone
    number = {i: 0 for i in objects["object_id"].tolist()}
    for _, i in of_fit:
        number[i] += 1
    snr, both = objects["flux_r"]/objects["flux_error_r"], np.array([number[i] for i in objects["object_id"].tolist()]) == 2
    assert both[snr > 30].mean() > 0.9 and (objects["n_det"][both & (snr > 30)] == IMAGES).mean() > 0.8
    assert (objects["joint_id"][both] >= 0).all() and (objects["joint_fit"][both] >= 0).all()
    assert (objects["joint_fit"][both] == min(f for f, _ in stars)).mean() > 0.5


def test_catalogs_that_are_ingested_again_are_left_alone_and_those_of_another_fit_replace_them(folder, store, tmp_path):
    assert ingest(store, [folder/"fit0"/"night0.cat.fits"]).counts == {"unchanged": 1}
    again = tmp_path/"night0.cat.fits"
    again.write_bytes((folder/"fit0"/"night0.cat.fits").read_bytes())
    fits.setval(again, "JOINTFIT", value=5)
    assert ingest(store, [again]).counts == {"replaced": 1} and len(store.snapshot().images) == IMAGES+1
    assert any((r["joint_fit"] == 5).any() for r in rows_of(store) if "joint_fit" in r.dtype.names)

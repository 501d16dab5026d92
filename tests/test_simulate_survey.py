"""Simulated surveys: what is true, what is detected of it, and how wrong that is."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree
from scipy.special import expit

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, DataFileError, OutputError
from crowdsource.core.flags import ENGINE
from crowdsource.engine.schema import columns_of
from crowdsource.exposure.instrument import load
from crowdsource.exposure.results import read_config
from crowdsource.io.fits import celestial_wcs
from crowdsource.psf.formats.native import read_hdus
from crowdsource.simulate.survey import (
    DETECTORS,
    SurveyConfig,
    blend,
    catalog_of,
    detector_wcs,
    draw_truth,
    exposure_size,
    observe,
    plan_exposures,
    true_flux,
    true_positions,
)
from crowdsource.simulate.survey.blends import blend_owners, overlap, resolution
from crowdsource.simulate.survey.files import as_result, read_links, read_truth, write_survey

SMALL = SurveyConfig(stars=3000, exposures=4, clusters=2, seed=5)
SPARSE = SurveyConfig(stars=6000, exposures=2, density=0.005, contrast=1., clusters=0, cluster_part=0., distortion=0., offset=0.,
                      spurious=0., flagged=0., variables=0., seed=3)
BITS = load("decam").flags


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")/"small"
    return folder, write_survey(SMALL, folder)


@pytest.fixture(scope="module")
def sparse():
    """Detections of isolated stars with their truth, from both detectors of two exposures."""
    truth = draw_truth(SPARSE)
    out = []
    for exposure in plan_exposures(SPARSE):
        counts = true_flux(truth, exposure.band, exposure.mjd)*10**(0.4*(exposure.zeropoint-22.5))
        for detector in DETECTORS:
            d = observe(SPARSE, truth, exposure, detector)
            x, y = detector_wcs(SPARSE, exposure, detector).all_world2pix(*true_positions(truth, exposure.mjd), 0)
            links = d.links[d.links["fraction"] == 1]
            row, star = links["row"], links["star"]
            # selection by flux would shift the mean of what is barely detected
            bright = (counts[star] > 12*d.dflux[row]) & ~d.saturated[row] & (d.purity[row] > 0.99)
            row, star = row[bright], star[bright]
            out.append([(d.x[row]-x[star])/d.dposition[row], (d.y[row]-y[star])/d.dposition[row],
                        (d.flux[row]-counts[star])/d.dflux[row]])
    return np.concatenate(out, axis=1)


def test_truth_has_the_stars_and_densities_that_are_asked_for():
    config = SurveyConfig(stars=40_000, seed=2)
    truth = draw_truth(config)
    assert len(truth) == 40_000 and (truth["star"] == np.arange(40_000)).all()
    # a little less than a fourth: members that fall out of the field are field stars
    assert 0.2 < (truth["cluster"] >= 0).mean() <= 0.25
    # the densest cluster has 3 in a square arcsecond in its middle, where the tenth neighbour is near
    assert 2 < np.quantile(truth["density"], 0.99) < 8 and np.quantile(truth["density"], 0.01) < 0.02
    field = truth[truth["cluster"] < 0]
    height = (field["dec"]-config.position[1])*3600/config.side+0.5
    # an exponential: a tenth of the height is a factor of 10^0.2
    low, high = (((height > a) & (height < a+0.1)).sum() for a in (0.2, 0.7))
    assert low/high == pytest.approx(10, rel=0.25)
    counts = np.histogram(truth["mag_r"], [18.5, 20.5, 22.5])[0]
    assert counts[1]/counts[0] == pytest.approx(10**(2*config.slope), rel=0.06)


@pytest.mark.parametrize("position", [(0., 10.), (359.99, 0.), (123., 89.95), (40., -90.)])
def test_fields_anywhere_on_the_sky(position):
    config = replace(SMALL, position=position, exposures=1, distortion=0., offset=0., rotation=30.)
    truth, exposure = draw_truth(config), plan_exposures(config)[0]
    assert ((truth["ra"] >= 0) & (truth["ra"] < 360)).all()
    pulls = []
    for detector in DETECTORS:
        d = observe(config, truth, exposure, detector)
        table = catalog_of(config, exposure, detector, d, BITS)
        alone = d.links[(d.links["fraction"] == 1) & (d.links["star"] >= 0)]
        row, star = alone["row"], alone["star"]
        ra, dec = np.radians(true_positions(truth[star], exposure.mjd))
        r, e = np.radians(table["ra"].value[row]), np.radians(table["dec"].value[row])
        off = 2*np.arcsin(np.sqrt(np.sin((e-dec)/2)**2+np.cos(dec)*np.cos(e)*np.sin((r-ra)/2)**2))*206265
        pulls.append(off/(d.dposition[row]*config.pixel_scale))
    pulls = np.concatenate(pulls)
    # two coordinates of scatter 1: half are within sqrt(2 log 2); of 450, to 0.06
    assert np.median(pulls) == pytest.approx((2*np.log(2))**0.5, abs=0.12) and len(pulls) > 450


def test_proper_motions_are_those_of_the_truth():
    truth = draw_truth(SMALL)[:200]
    truth["pmra"], truth["pmdec"] = 300., -400.
    ra, dec = true_positions(truth, 57_400+3652.5)
    assert (ra-truth["ra"])*np.cos(np.radians(truth["dec"]))*3600 == pytest.approx(3., abs=1e-3)
    assert (dec-truth["dec"])*3600 == pytest.approx(-4., abs=1e-3)


def test_variables_are_right_in_the_mean():
    truth = draw_truth(replace(SMALL, variables=0.5))
    varying = truth["amplitude"] > 0
    assert varying.mean() == pytest.approx(0.5, abs=0.04)
    dates = np.random.default_rng(1).uniform(57_400, 67_400, 800)
    mags = np.array([22.5-2.5*np.log10(true_flux(truth, "r", mjd)) for mjd in dates])
    assert mags.mean(axis=0) == pytest.approx(truth["mag_r"], abs=0.15)
    assert mags.std(axis=0)[varying] == pytest.approx(truth["amplitude"][varying]/2**0.5, rel=0.15)
    assert mags.std(axis=0)[~varying].max() < 1e-6


def test_same_configuration_gives_the_same_bytes(tmp_path, small):
    folder, _ = small
    write_survey(SMALL, tmp_path/"again")
    names = sorted(p.name for p in folder.iterdir())
    assert names == sorted(p.name for p in (tmp_path/"again").iterdir()) and len(names) == 9
    for name in names:
        assert (folder/name).read_bytes() == (tmp_path/"again"/name).read_bytes(), name
    other = write_survey(replace(SMALL, seed=6, exposures=1), tmp_path/"other")[0][0]
    assert other.read_bytes() != small[1][0][0].read_bytes()


def test_files_are_those_of_a_fit_of_several_detectors(small):
    folder, written = small
    _, exposures = read_truth(folder)
    for (path, number), row in zip(written, exposures):
        assert path.name == row["file"]
        assert read_config(path)["detect"]
        with fits.open(path) as hdus:
            assert hdus[0].header["EXPOSURE"] == row["exposure"] and hdus[0].header["INSTRUME"] == "decam"
            assert hdus[0].header["NSOURCES"] == number == sum(len(hdus[d+"_CAT"].data) for d in DETECTORS)
            for detector, ccd in DETECTORS.items():
                header, rows = hdus[detector+"_HDR"].header, hdus[detector+"_CAT"].data
                assert [c.name for c in columns_of(world=True, magnitude=True)] == rows.names[:-1]
                assert header["FILTER"].split()[0] == row["band"] and header["CCDNUM"] == ccd
                assert header["MJD-OBS"]+header["EXPTIME"]/2/86400 == pytest.approx(row["mjd"], abs=1e-8)
                assert header["ZPCRWD"] == row["header_zeropoint"] != row["zeropoint"]
                assert (rows["detection_id"] >> 39 == row["number"]).all()
                assert (rows["detection_id"] >> 32 & 127 == ccd).all()
                assert (rows["detection_id"] & 0xFFFFFFFF == np.arange(len(rows))).all()
                ra, dec = celestial_wcs(header).all_pix2world(rows["x"], rows["y"], 0)
                assert ra == pytest.approx(rows["ra"], abs=1e-9) and dec == pytest.approx(rows["dec"], abs=1e-9)
                positive = rows["flux"] > 0
                assert rows["mag"][positive] == pytest.approx(
                    header["ZPCRWD"]-2.5*np.log10(rows["flux"][positive]), abs=1e-4)
                assert read_hdus(hdus, detector+"_PSF").fwhm() == pytest.approx(header["FWHMCRWD"], rel=0.05)


def test_header_zero_points_are_off_by_what_is_asked_for():
    plan = plan_exposures(replace(SMALL, exposures=2000))
    off = np.array([e.header_zeropoint-e.zeropoint for e in plan])
    # scatters of 2000 numbers are right to 1.6 %
    assert off.std() == pytest.approx(SMALL.zeropoint_error, rel=0.06)
    assert np.std([e.zeropoint for e in plan]) == pytest.approx(SMALL.zeropoint_scatter, rel=0.06)
    u, v = np.random.default_rng(1).uniform(-1, 1, (2, 200))
    moved = np.array([replace(e, offset=(0., 0.)).displaced(u, v) for e in plan])
    assert 1000*moved.std() == pytest.approx(SMALL.distortion, rel=0.06)
    assert sorted({e.band for e in plan}) == ["g", "i", "r"] and (np.diff([e.mjd for e in plan]) > 0).all()
    seeing = np.array([e.seeing for e in plan])
    assert SMALL.seeing[0] <= seeing.min() < 0.81 and 1.89 < seeing.max() <= SMALL.seeing[1]


def test_links_tell_of_every_detection(small):
    folder, written = small
    stars, _ = read_truth(folder)
    for path, number in written:
        links = read_links(path)
        ids, first, count = np.unique(links["detection_id"], return_index=True, return_counts=True)
        with fits.open(path) as hdus:
            known = np.concatenate([hdus[d+"_CAT"].data["detection_id"] for d in DETECTORS])
        assert len(ids) == number and (ids == np.sort(known)).all()
        total = np.add.reduceat(links["fraction"].astype(float), first)
        assert total == pytest.approx(1, abs=1e-5)
        assert (links["fraction"][first] == np.maximum.reduceat(links["fraction"], first)).all()
        assert links["star"].max() < len(stars) and (count > 1).any()
        none = links["star"] < 0
        # a Poisson number of some 50
        assert none.sum()/number == pytest.approx(SMALL.spurious, abs=0.02) and (links["fraction"][none] == 1).all()


def test_errors_of_isolated_stars_are_honest(sparse):
    assert sparse.shape[1] > 2000
    # over 2000 numbers: the mean to 0.022 and the scatter to 0.016
    for pull in sparse:
        assert abs(pull.mean()) < 0.09 and pull.std() == pytest.approx(1, abs=0.06)


def test_isolated_stars_are_complete_above_the_threshold():
    truth, exposure = draw_truth(SPARSE), plan_exposures(SPARSE)[0]
    mag = truth[f"mag_{exposure.band}"]
    found = np.zeros(len(truth), bool)
    for detector in DETECTORS:
        found[observe(SPARSE, truth, exposure, detector).links["star"]] = True
    size = exposure_size(SPARSE)
    ny, whole = size.ny, size.width
    x, y = detector_wcs(SPARSE, exposure, "S4").all_world2pix(truth["ra"], truth["dec"], 0)
    seen = (x > 5) & (x < whole-5) & (y > 5) & (y < ny-5)
    assert found[seen & (mag < exposure.depth-1)].mean() > 0.98
    # half at 5 sigma
    assert found[seen & (np.abs(mag-exposure.depth) < 0.15)].mean() == pytest.approx(0.5, abs=0.15)
    assert found[seen & (mag > exposure.depth+0.8)].mean() < 0.1


def test_bad_seeing_blends_more():
    truth = draw_truth(SMALL)
    exposure = replace(plan_exposures(SMALL)[0], depth=23.5, band="r")
    blended, mixed = [], []
    for seeing in (0.7, 1., 1.4, 2.):
        links = observe(replace(SMALL, spurious=0.), truth, replace(exposure, seeing=seeing), "N4").links
        _, count = np.unique(links["row"], return_counts=True)
        blended.append((count > 1).mean())
        mixed.append(len(count))
    assert (np.diff(blended) > 0.02).all() and (np.diff(mixed) < 0).all()


def test_pairs_are_told_apart_by_their_separation():
    separation = np.linspace(0.2, 1.4, 7)
    shares = []
    for s in separation:
        # 400 pairs far from each other, brighter one second; signal to noise far above what matters
        x = np.repeat(np.arange(400.)*100, 2)
        x[::2] += 4*s
        b = blend(x, np.zeros(800), np.tile([1e4, 2e4], 400), np.full(800, 1e4), 4., np.random.default_rng(1))
        shares.append(1-(len(b.resolved)-400)/400)
        assert b.order[b.owner].tolist() == [i | 1 if b.owner[k] != k else i for k, i in enumerate(b.order)]
    expected = 1-resolution(separation, 2.5*np.log10(2), 1e4)
    # of 400 each
    assert shares == pytest.approx(expected, abs=0.08) and shares[0] == 1 and shares[-1] < 0.01
    assert (np.diff(resolution(0.8, np.arange(6.), 50.)) < 0).all() and resolution(0.8, 0, 5.) < resolution(0.8, 0, 50.)


def test_a_blend_has_the_weighted_place_and_flux():
    b = blend(np.array([0., 0.4]), np.zeros(2), np.array([300., 100.]), np.full(2, 100.), 4., np.random.default_rng(1))
    assert b.owner.tolist() == [0, 0]
    w = overlap(np.array([0.1, 0.3])/4)
    assert b.flux[0] == pytest.approx((w*[300, 100]).sum(), rel=1e-12)
    assert b.x[0] == pytest.approx(0.4*w[1]*100/b.flux[0], rel=1e-12)
    assert b.share == pytest.approx(w*[300, 100])


def test_blends_do_not_run_along_chains():
    """Each star within the reach of the next only: those that stand for themselves are every second one."""
    assert blend_owners(np.array([[0, 1], [1, 2], [2, 3], [3, 4]]), 5).tolist() == [0, 0, 2, 2, 4]
    # against one star after the other, in order of brightness
    rng = np.random.default_rng(4)
    pairs = np.unique(np.sort(rng.integers(0, 300, (600, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    owner = np.full(300, -1)
    for k in range(300):
        if owner[k] < 0:
            owner[k] = k
            far = pairs[pairs[:, 0] == k, 1]
            owner[far[owner[far] < 0]] = k
    assert blend_owners(pairs, 300).tolist() == owner.tolist()


def test_crowding_costs_precision():
    truth = draw_truth(SMALL)
    d = observe(replace(SMALL, flagged=0.), truth, replace(plan_exposures(SMALL)[0], seeing=1.), "N4")
    sure = ~d.saturated & ~d.spurious
    assert (d.dflux[sure] >= 0.999*d.dflux_iso[sure]).all()
    x, y, fwhm = d.x, d.y, 1/SMALL.pixel_scale
    near = cKDTree(np.column_stack([x, y])).query(np.column_stack([x, y]), 2)[0][:, 1]/fwhm
    worse = d.dflux/d.dflux_iso
    assert np.median(worse[sure & (near < 0.8)]) > 1.1 and np.median(worse[sure & (near > 2)]) < 1.02
    assert np.median(d.purity[sure & (near < 0.8)]) < 0.8 and np.median(d.purity[sure & (near > 2)]) > 0.99


def test_stars_in_the_overlap_are_measured_twice(small):
    folder, written = small
    for path, _ in written:
        links = read_links(path)
        links = links[(links["fraction"] > 0.9) & (links["star"] >= 0)]
        ccd = links["detection_id"] >> 32 & 127
        twice = np.intersect1d(*(links["star"][ccd == n] for n in DETECTORS.values()))
        # the strip is a twentieth of the exposure's width; clusters may be in it or not
        assert 0.01 < len(twice)/len(np.unique(links["star"])) < 0.12


def test_bright_stars_are_saturated_and_flagged(small):
    folder, written = small
    stars, exposures = read_truth(folder)
    links = read_links(written[0][0])
    with fits.open(written[0][0]) as hdus:
        rows = np.concatenate([np.array(hdus[d+"_CAT"].data) for d in DETECTORS])
    saturated = rows["flags"] >> 32 & ENGINE.saturated > 0
    assert (saturated == (rows["flags"] & BITS.saturated > 0)).all() and saturated.any()
    assert rows["flux"][saturated].min() > np.median(rows["flux"])*10
    bad = (rows["flags"] & BITS.bad > 0)
    assert 0.003 < bad.mean() < 0.03 and (rows["qf"][bad] < 0.95).all() and (rows["qf"][rows["flags"] == 0] > 0.95).all()
    assert len(links) and len(stars) == SMALL.stars and len(exposures) == SMALL.exposures


def test_detectors_do_not_depend_on_each_other():
    truth, exposures = draw_truth(SMALL), plan_exposures(SMALL)
    alone = observe(SMALL, truth, exposures[2], "N4")
    observe(SMALL, truth, exposures[0], "S4")
    again = observe(SMALL, truth, exposures[2], "N4")
    assert (alone.flux == again.flux).all() and (alone.links == again.links).all()


def test_command_writes_the_files(tmp_path, capsys):
    out = tmp_path/"survey"
    arguments = ["simulate-survey", str(out), "--stars", "500", "--exposures", "2", "--bands", "z", "--position", "0", "80"]
    assert main([*arguments, "--quiet"]) == 0 and capsys.readouterr().out == ""
    assert sorted(p.name for p in out.iterdir())[0] == "decam-1000001_z.cat.fits"
    assert main(arguments) == 2 and "is not empty" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert "500 stars, 2 exposures" in capsys.readouterr().out


@pytest.mark.parametrize("change, message", [
    (dict(stars=0), "stars"), (dict(bands=("g", "q")), "bands must be some of"), (dict(bands=("g", "g")), "each once"),
    (dict(position=(400., 0.)), "ra from 0"), (dict(density=1e-9), "at most 5 degrees"), (dict(contrast=0.5), "contrast"),
    (dict(cluster_densities=(3., 1.)), "the lower first"), (dict(spurious=1.), "below 1"), (dict(years=-1.), "not be negative"),
    (dict(brightest=25.), "brightest"), (dict(seeing=(2., 1.)), "seeing"), (dict(overlap=1.), "overlap"), (dict(gain=0.), "gain"),
    (dict(exposures=1 << 23), "2\\^23"), (dict(depth=np.nan), "depth must be finite"),
    (dict(rotation=np.nan), "rotation must be finite"),
    (dict(zeropoint=np.inf), "zeropoint must be finite"), (dict(position=(np.nan, 0.)), "position must be finite"),
    (dict(rotation=-1.), "not be negative"), (dict(seed=-1), "seed")])
def test_values_out_of_range_are_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        write_survey(replace(SMALL, **change), tmp_path/"a")


def test_what_is_no_survey_is_refused(tmp_path, small):
    with pytest.raises(OutputError, match="not empty"):
        write_survey(SMALL, small[0])
    with pytest.raises(DataFileError, match="holds no links"):
        read_links(small[0]/"truth.fits")
    fits.PrimaryHDU().writeto(tmp_path/"truth.fits")
    with pytest.raises(DataFileError, match="is no truth of a survey"):
        read_truth(tmp_path)


def test_a_survey_takes_the_place_of_another_one_whole(tmp_path):
    config = replace(SMALL, stars=300)
    write_survey(config, tmp_path)
    (tmp_path/"notes.txt").write_text("kept")
    write_survey(replace(config, exposures=1), tmp_path, overwrite=True)
    _, exposures = read_truth(tmp_path)
    assert [p.name for p in sorted(tmp_path.glob("*.cat.fits"))] == list(exposures["file"])
    assert len(list(tmp_path.iterdir())) == 4 and (tmp_path/"notes.txt").read_text() == "kept"


def test_a_truth_that_is_no_survey_names_no_files(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path/"truth.fits")
    (tmp_path/"c4d_r.cat.fits").write_text("kept")
    write_survey(replace(SMALL, stars=300, exposures=1), tmp_path, overwrite=True)
    assert (tmp_path/"c4d_r.cat.fits").read_text() == "kept" and len(read_truth(tmp_path)[0]) == 300


def test_results_have_the_band_and_the_date_of_their_exposure():
    """Whatever writes headers of fits may ask the image for them."""
    exposure = plan_exposures(SMALL)[0]
    table = catalog_of(SMALL, exposure, "S4", observe(SMALL, draw_truth(SMALL), exposure, "S4"), BITS)
    image = as_result(SMALL, exposure, table).image
    assert (image.band, image.mjd) == (exposure.band, exposure.mjd)


def test_few_stars_are_enough():
    config = replace(SMALL, stars=1, exposures=1, spurious=0.)
    exposure = plan_exposures(config)[0]
    for detector in DETECTORS:
        d = observe(config, draw_truth(config), exposure, detector)
        assert len(d) <= 1 and len(catalog_of(config, exposure, detector, d, BITS)) == len(d)


def test_limit_of_separation_is_soft():
    assert resolution(0.6, 0., np.inf) == pytest.approx(0.5) and resolution(0.67, 0., np.inf) == pytest.approx(expit(1.))

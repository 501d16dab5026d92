"""Header cards that files should not have, and do."""
NAN = "nan"
HUGE = (1e300, -1e300, 1e38)
ODD = ("x", "", NAN, "inf", -1, 0, True, "1e5", (1., 2.), None, *HUGE, 1e-300, 10**30)
"""Values where a number is wanted; a pair is complex, None has no value."""
AXIS = (0, 1, 2, -5, 5, 20, 97, 2**31, 2**31-1, 2**40, 10**18, 2**63, 10**30, 2.5, "x", NAN, None, True)
STRUCTURE = {
    "SIMPLE": (False, "T", 3, None), "BITPIX": (7, 0, -33, 128, 8, 16, 32, 64, -32, -64, "x", 1e3, 2.5, None),
    "NAXIS": (0, 1, 3, 5, 999, 1000, -1, 2.5, "two", None), "NAXIS1": AXIS, "NAXIS2": AXIS, "NAXIS3": (0, 1, 2, 10**9, -1, "x"),
    "PCOUNT": (-1, 1, 10**9, 10**15, "x", None), "GCOUNT": (0, 2, -1, 10**9, "x"),
    "GROUPS": (True, "x"), "EXTEND": (False, "x", 3),
    "XTENSION": ("UNKNOWN", "BINTABLE", "TABLE", "A3DTABLE", "IMAGE", "IUEIMAGE", "", 3, None),
    "EXTNAME": ("../../x", "/etc/passwd", "", 3, "IMAGE", "DQ", "N4", "N99", "a b", "x"*60, True, 2.5, NAN),
    "EXTVER": (0, -1, "x", 10**30, 2.5), "BSCALE": (0, NAN, 1e300, -1, 2, "x", 1e-300, 1e38, (1., 2.), True),
    "BZERO": (NAN, 1e300, -1, 32768, 2**31, 2**63, -128, "x", 0.5, 1e38), "BLANK": (-32768, 0, 1, 255, "x", 1.5, 10**30),
}
PACKED = {
    "ZCMPTYPE": ("RICE_ONE", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS", "NONE", "bad", "", 5, None),
    "ZTILE1": (0, -1, 1, 3, 10**9, 2**63, "x", 2.5), "ZTILE2": (0, -1, 2, 10**9, "x"), "ZNAXIS": (0, 1, 3, -1, 999, "x", None),
    "ZNAXIS1": AXIS, "ZNAXIS2": AXIS, "ZBITPIX": (8, 16, 32, 64, -32, -64, 7, 0, "x", None), "ZIMAGE": (False, "x", None),
    "ZQUANTIZ": ("NO_DITHER", "SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2", "bad", 3, None),
    "ZDITHER0": (0, -1, 10001, 10**9, "x", 2.5, None), "ZSCALE": ODD, "ZZERO": ODD, "ZBLANK": (0, 1, "x", 10**30, None),
    "ZVAL1": (0, -1, 1, 33, 7, 10**9, 2**31, "x", None), "ZVAL2": (0, 1, 2, 3, 8, -4, "x", None),
    "ZNAME1": ("BLOCK", "x", 3, None),
    "TFORM1": ("1PB(0)", "1QB(5)", "1J", "bad", "", 3, "1PB(999999999)", "9999999999B"), "TTYPE1": ("x", "", 3, None),
    "TFORM2": ("1D", "1PB(0)", "0D", "1X", "1E", "bad"), "TFIELDS": (0, 1, 2, 999, -1, "x", None),
    "THEAP": (0, -1, 10**9, "x"), "TSCAL1": (0, NAN, "x", 2.), "TZERO1": (NAN, 32768, "x"), "TNULL1": ("x", 0),
    "TDIM1": ("(2,2)", "(-1)", "x", "(1000000,1000000)"), "TDISP1": ("F99.99", "x"),
}
WCS = {
    "CTYPE1": ("RA---XXX", "GLON-CAR", "DEC--TAN", "", "RA---TAN-SIP", "RA---TPV", "RA---ZPN", "RA---SIN", "LAMBDA", "RA---SZP",
               "RA---TAN-", "FREQ", 3, None, "RA---COE", "HPLN-TAN", "xy-zTAN"),
    "CTYPE2": ("RA---TAN", "DEC--TAN-SIP", "DEC--TPV", "", "GLAT-CAR", "DEC--SIN", "VELO", 3), "CRVAL1": (*ODD, -500., 720.),
    "CRVAL2": (*ODD, 91., 90., -90.), "CRPIX1": (*ODD, -1e9), "CRPIX2": (*ODD, 1e9), "CD1_1": ODD, "CD2_2": ODD, "CD1_2": ODD,
    "CD2_1": ODD, "CDELT1": ODD, "CDELT2": ODD, "PC1_1": ODD, "CROTA2": ODD, "CUNIT1": ("furlong", "Angstrom", "arcsec", 3, ""),
    "CUNIT2": ("m", "deg/s", "rad"), "LONPOLE": ODD, "LATPOLE": ODD, "RADESYS": ("FK9", "ICRS", "FK4", 3),
    "EQUINOX": ("J2000", *ODD), "WCSAXES": (3, 0, -1, 1, 99, "x", 10**9), "A_ORDER": (2, 9, 99, -1, 10**9, "x", 2.5, NAN),
    "B_ORDER": (2, 9, 99, -1, "x"), "AP_ORDER": (2, 99, "x"), "A_2_0": ODD, "B_0_2": ODD, "PV1_1": ODD, "PV2_1": ODD,
    "PV1_39": ODD,
    "PV2_10": ODD, "CPDIS1": ("Lookup", "x", 3), "D2IMDIS1": ("Lookup", "x"), "DP1.EXTVER": (1, 99), "WCSNAME": ("x"*60, 3),
    "VELREF": ODD, "RESTFRQ": ODD, "OBSGEO-X": ODD, "MJDREF": ODD, "DATE-AVG": ("x", 3), "TIMESYS": ("x", 3), "PS1_0": ("x", 3),
}
FACTS = {
    **dict.fromkeys(("GAIN", "EGAIN", "SATURATE", "EXPTIME", "MAGZERO", "RDNOISE", "MJD-OBS", "MJD-MID", "MAGZP", "MJDMIN",
                     "MJDMAX"), (*ODD, 50., 101.)),
    "DATE-OBS": ("9999-99-99", "2020-02-30", "2020-01-01T00:00:00", "0001-01-01T00:00:00+23:59", 5, "", NAN, None),
    "FILTER": ("", "x"*60, 3, True, "g DECam", "'", "/../..", NAN, None),
    "BUNIT": ("electron", "x", 3, "", "e-", "Jy/beam", None),
    "FWHM": (NAN, -3, 0, 1e9, "x", 1e-9, 200, 1., 4, True, None),
    "EXPNUM": ("x", 10**30, -1, NAN, 2.5, 2**24, 2**25, "inf", 1e300),
    "CCDNUM": ("x", 10**30, -1, NAN, 2**31, 1e300, "inf", None), "PLVER": ("V3.1", "x", 3, "", None, "V99999999999.1"),
    "BAND": (2, "x", 3), "S7CORR": (True, "x"), "INSTRUME": ("x", 3),
}
RAW = (
    b"NO EQUALS SIGN HERE", b"GAIN    = 'unclosed", b"GAIN    =", b"GAIN    =4.0", b"GAIN    = 4.0 no slash", b"gain    = 4.0",
    b"\xff\xfe\xfd  = 3", b"GAIN    = '\xe9\xe8\xff'", b"\x00"*80, b"EXTNAME = 'a\nb     '", b"EXTNAME = 'a\rb\x00  '",
    b"=       = 3",
    b"CONTINUE  'orphan&'", b"HIERARCH ESO A B C = 3", b"HIERARCH = 3", b"HIERARCH ESO  = 'x", b"COMMENT \x07\x1b[31m",
    b"HISTORY \tx", b"END", b"END     = 3", b"        = 3", b"A" * 80, b"CRVAL1  = 1.5D+02", b"CRVAL1  = 1,5", b"CRVAL1  = 0x10",
    b"CRVAL1  = (1.0, 2.0)", b"DATE-OBS= 2020-01-01", b"NAXIS1  = 1 6", b"EXPTIME = 1_000", b"CHECKSUM= 'x'", b"DATASUM = '1'",
    b"INHERIT = T", b"BLOCKED = T", b"GAIN    = +-3", b"GAIN    = 1e", b"GAIN    = \xb2", b"SATURATE= 3 / \xb5",
)
"""Cards as bytes, padded with spaces."""
KINDS = STRUCTURE, STRUCTURE, PACKED, WCS, FACTS


def card(keyword, value):
    """80 bytes of a keyword and a value."""
    text = "'"+value.replace("'", "''")+"'" if isinstance(value, str) and value != NAN else \
        "" if value is None else "NAN" if value == NAN else "T" if value is True else "F" if value is False else \
        f"({value[0]}, {value[1]})" if isinstance(value, tuple) else repr(value).upper()
    start = f"HIERARCH {keyword} = " if len(keyword) > 8 or "." in keyword else f"{keyword:8s}= "
    return (start+(f"{text:8s}" if text.startswith("'") else f"{text:>20s}")).ljust(80)[:80].encode()


def continued(keyword, length=1000):
    """Cards of a long text in pieces."""
    pieces = [b"x"*60]*(length//60)
    return [f"{keyword:8s}= '".encode()+pieces[0]+b"&'", *(b"CONTINUE  '"+p+b"&'" for p in pieces[1:])]

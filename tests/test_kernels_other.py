"""The innermost loops give the bits of this processor on another architecture, too: compiled for it, and run by an emulator."""
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent/"cython_ext"
OTHERS = {"aarch64": ("aarch64-linux-gnu-gcc", ("qemu-aarch64-static", "qemu-aarch64"))}
"""Architectures, with a compiler for each and emulators of its processors."""
PROGRAM = r"""
#include "simd.h"
#include <stdio.h>
enum { ROWS = 40, STRIDE = 24, PLANE = ROWS*STRIDE, SIZE = 19, MANY = 8*PLANE };
static unsigned state = 1;
static float a[MANY], b[MANY], c[MANY], out[MANY];
static double x[MANY], y[MANY], wide[MANY];

static float number(void)
{
    state = state*1664525u + 1013904223u;
    return ((int)(state >> 8) - (1 << 23))/1048576.f;
}

static void begin(void)
{
    for (int i = 0; i < MANY; i++) {
        a[i] = number(); b[i] = number(); c[i] = number(); x[i] = number()*1.1; y[i] = number()/3.;
        out[i] = 0; wide[i] = 0;
    }
}

static void tell(const char *name, int n)
{
    unsigned long long sum = 14695981039346656037ull;
    const unsigned char *parts[2] = {(const unsigned char *)out, (const unsigned char *)wide};
    for (int k = 0; k < 2; k++)
        for (unsigned i = 0; i < (k ? sizeof wide : sizeof out); i++) sum = (sum ^ parts[k][i])*1099511628211ull;
    printf("%s %d %016llx\n", name, n, sum);
    begin();
}

int main(void)
{
    const ptrdiff_t at[6] = {0, 1, 2, 3, 5, 8};
    const int others[3] = {0, 2, 1}, lengths[5] = {3, 8, 19, 24, 37};
    double of_log[12], of_exp[14];
    for (int k = 0; k < 12; k++) of_log[k] = 2./(2*k+1);
    of_exp[0] = 1;
    for (int k = 1; k < 14; k++) of_exp[k] = of_exp[k-1]/k;
    begin();
    for (int v = 1; v < 4; v++) { cs_products(a, PLANE, STRIDE, b, PLANE, STRIDE, ROWS-3, v, wide); tell("products", v); }
    for (int s = 3; s < 20; s += 8) { cs_correlate(a, 96+s+8, b+3*s, s, 96, out, 96); tell("correlate", s); }
    cs_block_row(a, others, 3, x, wide, 3); tell("block_row", 3);
    for (int k = 0; k < 5; k++) {
        const int n = lengths[k];
        cs_six_taps(a, n+8, at, b, ROWS, n, n-1, out, n); tell("six_taps", n);
        for (int count = 4; count < 7; count += 2) { cs_combine(a, n, ROWS*n, b, count, 4, n, out, n); tell("combine", n); }
        cs_dot(a, n+1, b, n+2, ROWS, n, wide); tell("dot", n);
        cs_weigh(a, b, n, c, ROWS*n, n, ROWS, n, out, ROWS*n, n, wide); tell("weigh", n);
        cs_row_products_float(a, 3, b, 5, n, wide); tell("row_products_float", n);
        cs_row_products_double(x, 3, y, 5, n, wide); tell("row_products_double", n);
        cs_combine_double(x, y, 6, n, wide); tell("combine_double", n);
        for (int i = 0; i < MANY; i++) out[i] = c[i];
        cs_add(a, n, 2.5f, ROWS, n, out, n+5); tell("add", n);
        for (int i = 0; i < n; i++) c[i] = c[i] < 0 ? 0 : c[i];
        cs_measure_sums(a, a+100, b, b+100, a+200, b+200, c, n, 12.5, (struct cs_measured *)wide); tell("measure_sums", n);
        for (int i = 0; i < n; i++) x[i] = 1e-3+x[i]*x[i];
        cs_powers(x, -2.7, wide, n, of_log, of_exp); tell("powers", n);
    }
    return 0;
}
"""


def run(compiler, emulator, folder, *flags):
    """What the program prints."""
    source, binary = folder/"loops.c", folder/Path(compiler).name
    source.write_text(PROGRAM, encoding="utf-8")
    # as setup.py has the kernels built
    options = "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=off", "-w", "-static", *flags
    subprocess.run([compiler, *options, f"-I{FOLDER}", str(source), "-o", str(binary)], check=True)
    return subprocess.run([*emulator, str(binary)], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", OTHERS)
def test_another_architecture(tmp_path, name):
    compiler, emulators = OTHERS[name]
    own, emulator = shutil.which("gcc"), next(filter(shutil.which, emulators), None)
    if own is None or shutil.which(compiler) is None or emulator is None or platform.machine() == name or not FOLDER.is_dir():
        pytest.skip(f"needs gcc, {compiler} and one of {', '.join(emulators)}, and the kernels' source")
    wanted, found = run(own, (), tmp_path), run(compiler, (emulator,), tmp_path)
    assert len(wanted) > 50 and len(set(wanted)) == len(wanted)
    assert found == wanted
    # what the test can see: sums that are fused differ
    assert run(compiler, (emulator,), tmp_path, "-ffp-contract=fast") != wanted

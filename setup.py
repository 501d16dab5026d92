"""Maps the rooms to one import namespace and lists the kernels; everything else stands in pyproject.toml."""
import os
import shutil
import sysconfig
import tomllib
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext

ROOMS = {"crowdsource": "crowdsource", "crowdsource.instruments": "instruments", "crowdsource.cython_ext": "cython_ext",
         "crowdsource.data": "data"}
KERNELS = sorted(path.stem for path in Path("cython_ext").glob("*.pyx"))
HEADERS = sorted(str(path) for path in Path("cython_ext").glob("*.h"))
# Cython's own code for typed memoryviews, most of what each kernel would otherwise compile, is a module that all share
COMMON = "crowdsource.cython_ext._cyutility"
CYTHON_ROOT = Path("build/cython_root")
# .ci/sanitize sets it: every index is checked, and little optimised, as the sanitizers are told of more that way
CHECKED = os.environ.get("CROWDSOURCE_BOUNDSCHECK") == "1"
# sums keep their order and nothing is fused, so that bits depend neither on how wide the vectors of a processor are nor on what
# it can fuse. No flag names a processor: a build runs on any of its kind, and simd.h chooses wide instructions at run time
GNU = ["-O1" if CHECKED else "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=off"]
# Python's own flags ask for symbols of debuggers, a quarter of the time of compiling; who sets CFLAGS chooses
GNU += [] if "CFLAGS" in os.environ else ["-g0"]
FLAGS = {"unix": GNU, "mingw32": GNU, "msvc": ["/O2"]}
# the last one is what MSVC's math.h wants before it tells M_PI
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("_USE_MATH_DEFINES", None)]
# one wheel serves every Python from the oldest on (abi3): fits take as long and are the same bits. Python without its global lock
# has no such interface
OLDEST = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"].removeprefix(">=")
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")
if LIMITED:
    MACROS.append(("Py_LIMITED_API", "0x{:02x}{:02x}0000".format(*map(int, OLDEST.split(".")))))
DIRECTIVES = dict(language_level=3, boundscheck=CHECKED, wraparound=False, cdivision=True, initializedcheck=CHECKED,
                  embedsignature=True, freethreading_compatible=True)


def packages():
    """Every package of every room under its import name; folders of data files count as packages."""
    return sorted(name+("."+sub if sub else "") for name, room in ROOMS.items()
                  for sub in ["", *find_namespace_packages(room, exclude=["*__pycache__*"])])


def shared_declarations():
    """A folder in which Cython finds the rooms' .pxd files by their import names."""
    target = CYTHON_ROOT/"crowdsource"/"cython_ext"
    target.mkdir(parents=True, exist_ok=True)
    for folder in (target.parent, target):
        (folder/"__init__.py").touch()
    for declaration in Path("cython_ext").glob("*.pxd"):
        shutil.copy2(declaration, target)  # with its date, which tells Cython whether to compile again
    return str(CYTHON_ROOT)


def extension(name):
    """One kernel; what it is built from tells setuptools when to build it again (cythonize knows the .pxd files)."""
    source = f"cython_ext/{name}.pyx"
    headers = HEADERS if '.h"' in Path(source).read_text(encoding="utf-8") else []
    return Extension(f"crowdsource.cython_ext.{name}", [source], define_macros=MACROS, depends=["setup.py", *headers],
                     include_dirs=["cython_ext", numpy.get_include()], py_limited_api=LIMITED)


class BuildKernels(build_ext):
    """Adds the flags of whatever compiler is at hand, and compiles as many kernels at a time as there are processors."""

    def finalize_options(self):
        """As setuptools does; `--parallel` overrides."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        """Compile; beside the sources only what is older than they are, where setuptools would compile all and copy it."""
        if self.inplace or self.editable_mode:
            self.inplace = True
            super(build_ext, self).run()
            for extension in self.extensions:
                built = Path(self.get_ext_fullpath(extension.name))
                for other in {*built.parent.glob(f"{built.name.partition('.')[0]}.*{built.suffix}")}-{built}:
                    other.unlink()  # of another Python or another interface: it would be loaded, as old as it is
        else:
            super().run()

    def build_extensions(self):
        """Compile all kernels."""
        for extension in self.extensions:
            extension.extra_compile_args += FLAGS.get(self.compiler.compiler_type, [])
        super().build_extensions()


common = Extension(COMMON, ["cython_ext/_cyutility.c"], define_macros=MACROS, py_limited_api=LIMITED)

setup(
    packages=packages(),
    package_dir=ROOMS,
    package_data={"crowdsource": ["py.typed", "*.pyi"], "crowdsource.cython_ext": ["*.pxd", "*.pyx", "*.h"],
                  "crowdsource.report.templates": ["*.html", "*.css", "*.js"], "crowdsource.data": ["**/*"]},
    exclude_package_data={"": ["*.c", "**/*.py[co]", "**/__pycache__"]},
    ext_modules=cythonize([*map(extension, KERNELS), common], include_path=[shared_declarations()],
                          compiler_directives=DIRECTIVES, shared_utility_qualified_name=COMMON),
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp"+OLDEST.replace(".", "")}} if LIMITED else {},
)

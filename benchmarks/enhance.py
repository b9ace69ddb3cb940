"""How fast and how exact our EFF is: `python benchmarks/enhance.py [TABLE ...] [--data FOLDER]`.

Images are made by laying real fields of 640 x 480 pixels side by side, from FOLDER/*/images; without it, drawn ones.
They are stretched (`normalize="minmax"`), because on bright smears the authors' normalisation has nothing to solve.
Tables (the first four if none is named):

solvers   Eq. 10 by our solver, by SciPy's direct one and by SciPy's conjugate gradients, all on one system.
          Grey levels: how far the image enhanced with k = 5 is from that of the exact solution.
methods   eff, and the algorithm of the public Python ports, on one image. Grey levels: between the two.
scaling   eff alone, 0.3 to 20 megapixels.
profile   where eff spends its time, and the least time that moving the solver's arrays through memory takes.
fields    every image of FOLDER as it is: how many eff changes, in how many steps, and how exactly.
colours   what each method does to every tenth image of FOLDER, as means: the change of a colour, in grey levels; of a
          and b of Lab; the share of pixels with a colour at its lowest or highest; and the noise of the ground relative
          to the original's. This noise is what a Gaussian of 1.5 pixels removes from the lightest third of the pixels.

Times are of the processor, on one core: the least, then the median, of rounds in which all take turns. Memory is the
peak less what was held before (on Linux). Direct solving at 2560 x 1920 takes a minute or two and some GB, in each of
the first two tables.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import cv2
import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it sees its own folder alone

from benchmarks.timing import forget_peak, in_turns, megabytes, timed
from wbcjax.enhance import METHODS, eff, he, multigrid
from wbcjax.enhance.eff import Parameters, edge_weights, exposure_ratio, fuse, initial_illumination
from wbcjax.enhance.resize import double, halve, thumbnail
from wbcjax.smear.field import read_image
from wbcjax.smear.synthetic import SyntheticSmear, fields

TILE = (480, 640)
SIZES: tuple[int, ...] = (1, 2, 4)  # tiles a side: 640 x 480, 1280 x 960, 2560 x 1920
SCALES: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
SETTINGS = Parameters(normalize="minmax", k=5.0)
SECONDS, ROUNDS = 4.0, 15  # a task is repeated until either is reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", default=["solvers", "methods", "scaling", "profile"])
    parser.add_argument("--data", type=Path, help="folder of sets of real fields")
    parser.add_argument("--sizes", type=int, default=99, help="how many of the sizes, the smallest first")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    tables = {
        "solvers": (solvers, SIZES),
        "methods": (methods, SIZES),
        "scaling": (scaling, SCALES),
        "profile": (profile, SIZES),
    }
    of_real_fields = {"fields": real_fields, "colours": colours}
    if unknown := set(arguments.tables) - {*tables, *of_real_fields}:
        parser.error(f"no table is called {', '.join(sorted(unknown))}; see --help")
    for name in arguments.tables:
        if name in of_real_fields:
            if arguments.data is None:
                parser.error(f"{name}: name the folder of sets with --data")
            of_real_fields[name](arguments.data)
            continue
        table, sizes = tables[name]
        for i, tiles in enumerate(sizes[: arguments.sizes]):
            table(mosaic(arguments.data, tiles), i == 0)


def solvers(image: np.ndarray, first: bool) -> None:
    half, right, down = system(image)
    a, b = matrix(right, down), half.ravel().astype(np.float64)
    tasks = {
        "ours": lambda: multigrid.solve(half, right, down, SETTINGS.rtol, SETTINGS.max_iterations)[:2],
        "direct, SciPy": lambda: (scipy.sparse.linalg.spsolve(a, b).reshape(half.shape), "-"),
        "plain CG, SciPy": lambda: conjugate_gradients(a, b, half.shape),
    }
    measured = in_turn(tasks)
    double_precision = (x.astype(np.float64) for x in (half, right, down))
    exact = multigrid.solve(*double_precision, rtol=1e-10, max_iterations=1000).t
    if first:
        head("image", "solver", "ms, least", "median", "ratio", "steps", "residual", "MB", "grey levels: most", "mean")
    for name, (times, memory, (t, steps)) in measured.items():
        residual = np.linalg.norm(a @ t.ravel() - b) / np.linalg.norm(b)
        grey = grey_levels(enhanced(image, t), enhanced(image, exact))
        ratio = f"{min(times) / min(measured['ours'][0]):.0f}"
        row(size(image), name, *spread(times), ratio, steps, f"{residual:.0e}", memory, *grey)


def methods(image: np.ndarray, first: bool) -> None:
    measured = in_turn({"ours": lambda: eff(image, normalize="minmax"), "the ports'": lambda: port(image)})
    if first:
        head("image", "algorithm", "ms, least", "median", "ratio", "MB", "grey levels: most", "mean")
    for name, (times, memory, result) in measured.items():
        ratio = f"{min(times) / min(measured['ours'][0]):.0f}"
        row(size(image), name, *spread(times), ratio, memory, *grey_levels(result, measured["ours"][2]))


def scaling(image: np.ndarray, first: bool) -> None:
    times, memory, (_, parts) = in_turn({"eff": lambda: eff(image, normalize="minmax", return_parts=True)})["eff"]
    if first:
        head("image", "megapixels", "ms, least", "median", "ms a megapixel", "steps", "MB", "MB a megapixel")
    megapixels = image.size / 3e6
    each = f"{1000 * min(times) / megapixels:.1f}"
    row(size(image), f"{megapixels:.1f}", *spread(times), each, parts.iterations, memory, f"{memory / megapixels:.0f}")


def profile(image: np.ndarray, first: bool) -> None:
    L = initial_illumination(image, SETTINGS)
    half, right, down = system(image)
    levels = multigrid._levels(right, down)
    t, steps, _ = multigrid.solve(half, right, down, SETTINGS.rtol, SETTINGS.max_iterations)
    T = np.clip(double(t, (L.shape[0], L.shape[1])), 0, 1)
    many = [half.copy() for _ in range(12)]  # about what the solver holds on the finest grid
    tasks: dict[str, Callable[[], Any]] = {
        "L and its half": lambda: halve(initial_illumination(image, SETTINGS)),
        "edge weights": lambda: edge_weights(half, SETTINGS),
        "solver": lambda: multigrid.solve(half, right, down, SETTINGS.rtol, SETTINGS.max_iterations),
        "- making the grids": lambda: multigrid._levels(right, down),
        "- one V-cycle": lambda: multigrid._v_cycle(levels, half),
        "- of this, the coarser grids": lambda: multigrid._v_cycle(levels[1:], levels[1].jacobi),
        "- one product A p": lambda: levels[0].minus_product(half),
        "T at full size, W": lambda: np.sqrt(np.clip(double(t, (L.shape[0], L.shape[1])), 0, 1)),
        "k": lambda: exposure_ratio(image, T, SETTINGS),
        "fusion": lambda: fuse(image, T, 5.0, SETTINGS),
        "12 arrays copied": lambda: [np.copyto(x, y) for x, y in zip(many[::2], many[1::2], strict=True)],
    }
    measured = in_turn(tasks)
    if first:
        head("image", "part of eff", "ms, least", "median")
    for name, (times, *_) in measured.items():
        row(size(image), name, *spread(times))
    # Arrays read and written in a step if each part of it were one pass: three stencils of 5 arrays, and updates and
    # sums with 12. The coarser grids hold a third; they have two stencils, 3 for the first step, and 2 up and down.
    arrays = 3 * 5 + 12 + (2 * 5 + 3 + 2) / 3
    bound = arrays * min(measured["12 arrays copied"][0]) / len(many)
    row(size(image), f"a step of {steps}", milliseconds(min(measured["solver"][0]) / steps), "")
    row(size(image), "bound by memory", milliseconds(bound), "")


def real_fields(data: Path) -> None:
    head("set", "normalize", "fields", "changed", "k above 1", "steps", "ms, least", "median", "grey levels at k = 5")
    for folder in sorted(data.glob("*/images")):
        paths = sorted(folder.iterdir())
        for normalize in ("dtype", "minmax"):
            changed, brightened, worst, steps, times = 0, 0, 0.0, [], []
            for path in paths:
                image = read_image(path)
                start = time.process_time()
                result = eff(image, normalize=normalize)
                times.append(time.process_time() - start)
                changed += not np.array_equal(result, image)
                brightened += eff(image, normalize=normalize, return_parts=True)[1].k > 1
                result, parts = eff(image, normalize=normalize, k=5.0, return_parts=True)
                steps.append(parts.iterations)
                worst = max(worst, grey_levels(result, eff(image, normalize=normalize, k=5.0, rtol=1e-9))[0])
            counts = len(paths), changed, brightened, f"{min(steps)} to {max(steps)}"
            row(folder.parent.name, normalize, *counts, *spread(times), worst)


def colours(data: Path) -> None:
    head("set", "method", "change", "of a, b", "at the ends, %", "noise")
    tried = METHODS | {"he, per channel": partial(he, mode="per_channel")}
    for folder in sorted(data.glob("*/images")):
        images = [read_image(path) for path in sorted(folder.iterdir())[::10]]
        for name, method in tried.items():
            found = np.mean([looks(image, method(image)) for image in images], axis=0)
            row(folder.parent.name, name, *(f"{value:.1f}" for value in found))


def looks(image: np.ndarray, enhanced: np.ndarray) -> tuple[float, float, float, float]:
    labs = [np.asarray(cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)) for x in (image, enhanced)]
    ground = labs[0][..., 0] > np.quantile(labs[0][..., 0], 2 / 3)
    noise = [np.std((lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 1.5))[ground]) for lab in labs]
    at_ends = ((enhanced == 0) | (enhanced == 255)).any(axis=2)
    change_of_ab = np.abs(labs[1] - labs[0])[..., 1:].mean()
    return grey_levels(image, enhanced)[1], float(change_of_ab), float(100 * at_ends.mean()), float(noise[1] / noise[0])


# The systems and programs compared


def system(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The l and the edges of Eq. 10, lambda within them."""
    half = halve(initial_illumination(image, SETTINGS))
    right, down = edge_weights(half, SETTINGS)
    return half, np.float32(SETTINGS.lam) * right, np.float32(SETTINGS.lam) * down


def matrix(right: np.ndarray, down: np.ndarray) -> scipy.sparse.csc_matrix:
    """A of Eq. 10, double precision."""
    here = np.arange(right.size).reshape(right.shape)
    rows, columns, values = [here.ravel()], [here.ravel()], [np.ones(right.size)]
    for weights, axis in ((right, 1), (down, 0)):
        there, w = np.roll(here, -1, axis).ravel(), weights.ravel().astype(np.float64)
        rows += [here.ravel(), there, here.ravel(), there]
        columns += [here.ravel(), there, there, here.ravel()]
        values += [w, w, -w, -w]
    places = np.concatenate(rows), np.concatenate(columns)
    return scipy.sparse.csc_matrix((np.concatenate(values), places), shape=(right.size, right.size))


def conjugate_gradients(a: scipy.sparse.csc_matrix, b: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Without a preconditioner, to the tolerance of ours."""
    steps = []
    t, _ = scipy.sparse.linalg.cg(a.tocsr(), b, rtol=SETTINGS.rtol, maxiter=5000, callback=lambda _: steps.append(1))
    return t.reshape(shape), len(steps)


def enhanced(image: np.ndarray, t: np.ndarray) -> np.ndarray:
    T = np.clip(double(t.astype(np.float32), (image.shape[0], image.shape[1])), 0, 1)
    return fuse(image, np.sqrt(T), 5.0, SETTINGS)


def port(image: np.ndarray) -> np.ndarray:
    """The public Python ports, mistakes included: they stretch at every step, solve directly, and truncate."""
    P = stretched(image)
    half = stretched(np.floor(255 * stretched(halve(P.max(axis=2).astype(np.float32)))))
    right, down = (SETTINGS.lam * weights for weights in edge_weights(half, SETTINGS))
    t = np.asarray(scipy.sparse.linalg.spsolve(matrix(right, down), half.ravel())).reshape(half.shape)
    T = np.asarray(cv2.resize(t, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    dark = np.asarray(cv2.resize((T < 0.5).astype(np.uint8), (50, 50), interpolation=cv2.INTER_NEAREST)) > 0
    brightness = np.cbrt(np.prod(stretched(thumbnail(image, 50)), axis=2))[dark]

    def exposed(x: np.ndarray, k: float) -> np.ndarray:
        gamma = k**SETTINGS.a
        return np.exp(SETTINGS.b * (1 - gamma)) * x**gamma

    def order(k: float) -> float:
        levels = np.clip(255 * exposed(brightness, k), 0, 255).astype(np.uint8)
        share = np.bincount(levels, minlength=256) / levels.size
        return float(np.sum(share * np.log2(share, out=np.zeros(256), where=share > 0)))

    k: Any = scipy.optimize.fminbound(order, 1, 7) if brightness.size else 1.0
    J = exposed(P, k) - 0.01 if brightness.size else P
    W = np.sqrt(np.clip(T, 0, 1))[..., None]
    return (255 * np.clip(W * P + (1 - W) * J, 0, 1)).astype(np.uint8)


def stretched(x: np.ndarray) -> np.ndarray:
    return (x - float(x.min())) / (float(x.max()) - float(x.min()))


# Images, measuring, printing


def mosaic(data: Path | None, tiles: int) -> np.ndarray:
    """An RGB image of tiles x tiles fields."""
    chosen = list(islice(cycle(tile_images(data)), tiles**2))
    return np.concatenate([np.concatenate(chosen[i : i + tiles], axis=1) for i in range(0, tiles**2, tiles)])


@cache
def tile_images(data: Path | None) -> list[np.ndarray]:
    """64 real fields of a tile's size or as many as there are, or 8 drawn ones."""
    if data is None:
        smear = SyntheticSmear(height=TILE[0], width=TILE[1], pixels_per_micron=7.0)
        return [field.image() for field in fields(smear, 8, seed=0)]
    images = (read_image(path) for path in sorted(data.glob("*/images/*")))
    found = list(islice((image for image in images if image.shape[:2] == TILE), 64))
    if not found:
        raise SystemExit(f"{data}: no images of 640 x 480 pixels in */images")
    return found


def in_turn(tasks: dict[str, Callable[[], Any]]) -> dict[str, tuple[list[float], float, Any]]:
    """Of each task the seconds of every repetition, the MB at its peak, and its result."""
    firsts = {name: first_run(task) for name, task in tasks.items()}
    runs = {name: partial(timed, task) for name, task in tasks.items()}
    times = in_turns(runs, ROUNDS - 1, SECONDS)
    return {name: ([time.cpu for time in taken], *firsts[name]) for name, taken in times.items()}


def first_run(task: Callable[[], Any]) -> tuple[float, Any]:
    """MB at its peak, and its result."""
    forget_peak()
    before = megabytes("VmRSS")
    result = task()
    return round(megabytes("VmHWM") - before, 1), result


def size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def grey_levels(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The largest and the mean difference."""
    difference = np.abs(one.astype(int) - other)
    return float(difference.max()), round(float(difference.mean()), 3)


def spread(times: list[float]) -> tuple[str, str]:
    return milliseconds(min(times)), milliseconds(statistics.median(times))


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}" if seconds < 0.01 else f"{1000 * seconds:.1f}"


def head(*titles: str) -> None:
    row(*titles)
    row(*["---"] * len(titles))


def row(*values: object) -> None:
    print("| " + " | ".join(str(value) for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()

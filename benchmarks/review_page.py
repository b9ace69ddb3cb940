"""How long a person waits for the page of a review: `python -m benchmarks.review_page`.

In a headless Chromium, of a review of 2,000 images, and of a field of 5,000 cells: until the page is there, until a
field is drawn, and until a click on a cell is drawn as selected; medians and the longest, in milliseconds. The fields
are noise, and the cells discs of 36 points.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from tests.commands.review.browser import CHROMIUM, Hand, Server
from wbcjax.commands.review.candidates import Candidate, CandidateFiles, Candidates, Kept
from wbcjax.commands.review.reviewed_set import CANDIDATES, ReviewedSet, ReviewSettings
from wbcjax.system.files import png_bytes

CLASSES = ("L1", "L2", "L3")
MANY, CROWDED = 2000, 5000  # fields; cells of a field
SIZE, LARGE = (384, 512), (3000, 4000)  # height and width, pixels


def disc(x: float, y: float, radius: float) -> tuple[tuple[float, float], ...]:
    turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return tuple(
        (round(x + radius * c, 2), round(y + radius * s, 2)) for c, s in zip(np.cos(turns), np.sin(turns), strict=True)
    )


def cells(rng: np.random.Generator, count: int, size: tuple[int, int]) -> Kept:
    """So many cells on a grid, of scores from 0.3 to 1."""
    columns = int(np.ceil(np.sqrt(count * size[1] / size[0])))
    step = size[1] / columns
    places = [(step * (k % columns + 0.5), step * (k // columns + 0.5)) for k in range(count)]
    labels, scores = rng.integers(1, 4, count), np.sort(rng.uniform(0.3, 1, count))[::-1]
    found = [
        Candidate(int(label), (disc(x, y, 0.42 * step),), round(float(score), 4))
        for (x, y), label, score in zip(places, labels, scores, strict=True)
    ]
    return Kept(Candidates(0, tuple(found)))


def write(folder: Path, fields: int, of_each: int, size: tuple[int, int]) -> None:
    """Images and what was found in them. All fields show the same image, by a link."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    original = folder / "original.png"
    original.write_bytes(png_bytes(rng.integers(120, 220, (*size, 3), np.uint8)))
    ReviewedSet(folder / "review", [], ReviewSettings(CLASSES))  # begins it
    files = CandidateFiles(folder / "review" / CANDIDATES)
    for number in range(fields):
        name = f"{number:04}.png"
        os.link(original, folder / "images" / name)
        files.write(name, cells(rng, of_each, size))


def told(name: str, milliseconds: Sequence[float]) -> str:
    return f"| {name} | {np.median(milliseconds):.0f} | {max(milliseconds):.0f} | {len(milliseconds)} |"


def measured(fields: int, of_each: int, size: tuple[int, int]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        place = Path(folder)
        write(place, fields, of_each, size)
        server = Server(
            "wbcjax", "review", place / "images", "--out", place / "review", "--classes", *CLASSES, "--no-browser"
        )
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        hand = Hand(page)
        hand.load(server.address)
        began = page.evaluate("performance.now()")
        for number in range(10):
            page.evaluate(f"review.open({number * fields // 10 % fields})")
            page.wait_for_timeout(400)
        rng = np.random.default_rng(1)
        for _ in range(20):
            left, top, right, bottom = page.evaluate(
                f"[...review.field().cells.values()][{rng.integers(of_each // 2)}].box"
            )
            hand.click((left + right) / 2, (top + bottom) / 2)
            page.wait_for_timeout(50)
        times = page.evaluate("review.times")
        name = f"{fields:,} fields of {of_each:,} cells, {size[1]} x {size[0]} pixels"
        yield f"| {name}: the page | {began:.0f} | {began:.0f} | 1 |"
        yield told(f"{name}: a field", times["show"])
        yield told(f"{name}: a selection", times["select"])
        browser.close()
        server.kill()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| until it is drawn | median, ms | longest, ms | of |\n|---|---|---|---|")
    for fields, of_each, size in ((MANY, 10, SIZE), (1, CROWDED, LARGE)):
        for line in measured(fields, of_each, size):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""A page of a review in a headless browser, and its server."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)


class Server:
    """A process that reviews; its address is the first that it prints."""

    def __init__(self, module: str, *arguments: Any) -> None:
        command = [sys.executable, "-u", "-m", module, *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout
        said = ""
        while not (found := re.search(r"http://\S+/", said)):
            line = self.process.stdout.readline()
            assert line, said
            said += line
        self.address = found[0]

    def kill(self) -> None:
        """As by kill -9."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


class Hand:
    """What a person does on a page, in pixels of the image; it waits so many seconds at most."""

    def __init__(self, page: Any, patience: float = 15) -> None:
        self.page, self.patience = page, patience

    def load(self, address: str, field: str = "") -> None:
        self.page.goto(address)
        self.wait("Boolean(window.review?.field() && !review.field().waits)")
        if field:
            self.open(field)

    def open(self, name: str) -> None:
        """Open the field of a name by its thumbnail."""
        self.page.click(f"button.field[title='{name}']")
        self.wait(f"review.field().name === '{name}' && !review.field().waits")

    def screen(self, x: float, y: float) -> tuple[float, float]:
        at = """([x, y]) => { const box = document.getElementById("stage").getBoundingClientRect();
            const [left, top] = review.view.toScreen(x, y); return [left + box.left, top + box.top] }"""
        left, top = self.page.evaluate(at, [x, y])
        return left, top

    def point(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.screen(x, y))

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.screen(x, y))
        self.settle()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.settle()

    def draw(self, *points: tuple[float, float], shift: bool = True) -> None:
        """Drag along points, with Shift a freehand line."""
        if shift:
            self.page.keyboard.down("Shift")
        self.point(*points[0])
        self.page.mouse.down()
        for x, y in points[1:]:
            self.page.mouse.move(*self.screen(x, y), steps=3)
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")
        self.settle()

    def settle(self) -> None:
        """Wait until all that was asked for is answered."""
        self.page.evaluate("review.idle()")

    def cells(self) -> dict[int, tuple[int, tuple[int, ...]]]:
        """Label and box, in whole pixels, of each cell that the page shows, by its id."""
        shown = self.page.evaluate("[...review.field().cells.values()].map(c => [c.id, c.label, c.box])")
        return {number: (label, tuple(map(round, box))) for number, label, box in shown}

    def wait(self, until: str) -> None:
        """Ask again and again; the page's own security policy forbids to do so within it."""
        end = time.monotonic() + self.patience
        while not self.page.evaluate(until):
            assert time.monotonic() < end, until
            self.page.wait_for_timeout(30)


def wait_for(what, seconds: float = 15) -> None:
    """Wait until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)

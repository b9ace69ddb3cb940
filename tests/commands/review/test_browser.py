"""The page of a review in a headless Chromium: each action by pointer and keys, and that nothing is lost by kill -9."""

import math
from collections.abc import Iterator

import pytest

from tests.commands.review.browser import CHROMIUM, Hand, Server, wait_for
from tests.commands.review.stub_server import CANVAS
from tests.oracle import paint
from wbcjax.smear.read import read
from wbcjax.system.files import write_png

playwright = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra `test`, drives the browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

STUB = "tests.commands.review.stub_server"
FIRST, SECOND, UNSURE = (20, 20, 60, 60), (100, 20, 140, 60), (180, 100, 230, 150)
# The 15th cell is painted as one that scores 0.41, below the threshold.
FIELD = {FIRST: 1, SECOND: 2} | {(x, 185, x + 4, 189): 3 for x in range(0, 120, 10)} | {UNSURE: 1}
# Not in doubt at first; after the stub's training its three small cells are.
PLAIN = {FIRST: 1, SECOND: 1} | {(x, 185, x + 4, 189): 2 for x in (0, 10, 20)}
SMALL = {(x, 185, x + 4, 189): 1 for x in range(0, 100, 10)}  # a little in doubt
FIELDS = {"a": FIELD, "b": FIELD, "c": FIELD, "d": PLAIN, "e": SMALL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    for name, cells in FIELDS.items():
        write_png(folder / f"images/{name}.png", paint(*CANVAS, cells))
    return folder


@pytest.fixture(scope="module")
def servers(folder) -> Iterator[list[Server]]:
    started = [Server(STUB, folder / "images", folder / "out")]
    yield started
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def hand(servers) -> Iterator[Hand]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        hand = Hand(page)
        hand.load(servers[0].address)
        yield hand
        browser.close()
    assert wrong == []


def circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    return [(x + radius * math.cos(k / 3), y + radius * math.sin(k / 3)) for k in range(19)]


def of_cells(hand: Hand) -> dict[tuple[int, ...], int]:
    """The class of each cell that is larger than those at the lower edge, by its box."""
    return {box: label for label, box in hand.cells().values() if box[2] - box[0] > 5}


def test_naming_removing_and_undoing_by_pointer_and_keys(hand):
    hand.open("a.png")
    assert of_cells(hand) == {FIRST: 1, SECOND: 2}
    hand.point(40, 40)
    hand.press("3")
    assert of_cells(hand) == {FIRST: 3, SECOND: 2}
    hand.click(120, 40)  # selected: keys go to it wherever the pointer is
    hand.point(40, 40)
    hand.press("Delete")
    assert of_cells(hand) == {FIRST: 3}
    hand.press("u")
    hand.press("Control+z")
    assert of_cells(hand) == {FIRST: 1, SECOND: 2}
    hand.press("r")
    assert of_cells(hand) == {FIRST: 3, SECOND: 2}


def test_a_cell_and_all_that_score_less_are_removed_by_shift_delete(hand):
    hand.open("e.png")
    before = hand.cells()
    hand.point(42, 187)  # the fifth of ten
    hand.press("Shift+Delete")
    assert len(hand.cells()) == 4
    hand.press("u")
    assert hand.cells() == before


def test_a_candidate_is_shown_near_the_pointer_and_taken_by_a_click(hand):
    hand.open("b.png")
    hand.point(40, 40)
    assert hand.page.evaluate("review.view.scene.ghosts.length") == 0
    hand.point(176, 98)
    assert hand.page.evaluate("review.view.scene.ghosts.length") == 1
    hand.click(200, 120)
    assert of_cells(hand) == {FIRST: 1, SECOND: 2, UNSURE: 1}


def test_a_click_on_bare_ground_asks_the_network(hand):
    hand.open("d.png")
    hand.point(40, 40)
    hand.press("Delete")
    hand.click(40, 40)  # the stub sees again what it saw
    assert of_cells(hand) == {FIRST: 1, SECOND: 1}
    hand.click(90, 120)
    assert "sees no cell here" in hand.page.inner_text("#said")


def test_lines_draw_outline_anew_cut_and_join(hand):
    hand.open("c.png")
    hand.press("2")
    hand.draw(*circle(200, 50, 20))
    assert of_cells(hand)[180, 30, 220, 70] == 2
    hand.draw((90, 40), (150, 40))
    assert of_cells(hand)[100, 20, 140, 40] == of_cells(hand)[100, 40, 140, 60] == 2
    hand.draw((40, 40), (120, 30))
    assert of_cells(hand)[20, 20, 140, 60] == 1
    hand.draw(*circle(200, 48, 24))
    assert (176, 24, 224, 72) in of_cells(hand)


def test_a_point_of_the_selected_outline_is_dragged(hand):
    hand.open("d.png")
    hand.click(120, 40)
    hand.draw((140, 60), (150, 75), shift=False)
    assert (100, 20, 150, 75) in of_cells(hand)
    hand.press("Escape")


def test_a_field_changed_on_another_page_is_not_written_over(hand, servers):
    other = Hand(hand.page.context.new_page())
    other.load(servers[-1].address, "b.png")
    hand.open("b.png")
    hand.page.route("**/api/queue*", lambda route: route.abort())  # by which it would learn of the change
    other.point(40, 40)
    other.press("3")
    hand.point(120, 40)
    hand.press("Delete")
    hand.page.unroute("**/api/queue*")
    assert "changed elsewhere" in hand.page.inner_text("#said")
    assert of_cells(hand) == of_cells(other)
    assert (of_cells(hand)[FIRST], of_cells(hand)[SECOND]) == (3, 2)
    other.page.close()


def test_what_was_shown_as_done_is_there_after_kill_9(hand, servers, folder):
    hand.open("c.png")
    before = hand.cells()
    hand.point(200, 120)
    hand.press("t")
    shown = hand.cells()
    assert len(shown) == len(before) + 1
    servers[-1].kill()
    servers.append(Server(STUB, folder / "images", folder / "out"))
    hand.load(servers[-1].address, "c.png")
    assert hand.cells() == shown
    hand.press("u")
    assert hand.cells() == before
    hand.press("r")
    path = folder / "out/via.json"
    wait_for(lambda: len(read(path, folder / "images").fields[2].cells) == len(shown))


def test_training_again_searches_open_fields_and_sorts_the_queue_anew(hand):
    for name in ("b.png", "c.png"):
        hand.open(name)
        hand.press("f")
    hand.wait("document.getElementById('position').textContent === '2 of 5 done'")
    order = "[...document.querySelectorAll('.field .title')].map(title => title.textContent).join()"
    hand.wait(f"{order} === 'a.png,e.png,d.png,b.png,c.png'")
    hand.press("Shift+T")
    hand.wait("document.getElementById('training').textContent.includes('trained on 2 fields')")
    hand.wait(f"{order} === 'a.png,d.png,e.png,b.png,c.png'")
    assert "F1" in hand.page.inner_text("#training")


@pytest.mark.parametrize("width", [1400, 800])
def test_nothing_of_the_page_is_cut_off(hand, width):
    hand.page.set_viewport_size({"width": width, "height": 800})
    ends = "[...document.querySelectorAll('header button, aside')].map(one => one.getBoundingClientRect().right)"
    assert max(hand.page.evaluate(ends)) <= width + 1
    assert hand.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hand.press("?")
    assert hand.page.is_visible("#key-list")
    hand.page.keyboard.press("Escape")

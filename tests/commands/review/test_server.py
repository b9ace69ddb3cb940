"""The server of a review: what it answers, and what it refuses."""

import base64
import json
import random
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands.review.make import SIZE, Client, review, square
from wbcjax.commands.review.packed import packed, sizes


@pytest.fixture
def client(tmp_path) -> Client:
    return Client(review(tmp_path))


def test_the_page_and_its_files_come_with_the_token_alone(client):
    page = client.get("")
    assert page.status == 200
    assert b"review.js" in page.body
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("review.js", "view.js", "geometry.js", "server.js", "review.css"):
        assert client.get(name).status == 200
    for path in ("/", "/review.js", "/wrong/review.js", f"/{client.desk.token[:-1]}/", "/api/set"):
        assert client.ask("GET", path, {}).status == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:80", "0.0.0.0:80"])
def test_a_request_by_another_hosts_name_is_refused(client, host):
    assert client.get("api/set", host=host).status == 403
    assert client.get("api/set", host="localhost:4711").status == 200  # through an ssh tunnel


def test_a_request_from_another_site_is_refused(client):
    assert client.post("api/train", {}, origin="https://evil.example").status == 403
    assert client.post("api/fields/0/act", {}, **{"content-type": "text/plain"}).status == 422
    assert client.post("api/fields/0/act", {}, **{"content-length": str(2**30)}).status == 413


def test_a_correction_is_answered_with_what_changed(client):
    answer = client.act(0, "name", cell=1, label=2)
    assert answer.status == 200
    assert answer.json["drop"] == [1]
    assert [(cell["id"], cell["label"]) for cell in answer.json["put"]] == [(1, 2)]
    assert (answer.json["can_undo"], answer.json["can_redo"], answer.json["done"]) == (True, False, False)
    field = client.get("api/fields/0").json
    assert field["revision"] == answer.json["revision"]
    assert sorted(cell["label"] for cell in field["cells"]) == [2, 2]
    assert [(place, score) for place, _, score, _ in field["ghosts"]] == [(2, 0.2)]


def points_of(packed: str) -> list[tuple[float, float]]:
    """By the standard library."""
    return [(x / 100, y / 100) for x, y in struct.iter_unpack("<ii", base64.b64decode(packed))]


def test_a_field_is_sent_with_the_points_of_its_cells_and_then_of_its_ghosts(client):
    field = client.get("api/fields/0").json
    assert [cell["parts"] for cell in field["cells"]] == [[4], [4]]
    assert [parts for _, _, _, parts in field["ghosts"]] == [[4]]
    assert points_of(field["points"]) == [*square(10, 10), *square(60, 10), *square(110, 60)]


def test_a_cell_that_was_changed_is_sent_with_its_points(client):
    answer = client.act(0, "name", cell=2, label=1).json
    assert answer["put"][0]["parts"] == [4]
    assert points_of(answer["points"]) == list(square(60, 10))
    assert client.act(0, "remove", cell=2).json["points"] == ""


coordinates = st.floats(0, 99_999)
parts = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=5).map(tuple)


@given(st.lists(st.lists(parts, min_size=1, max_size=3), max_size=4))
def test_packed_points_are_those_of_all_parts_in_their_order_within_half_a_hundredth(shapes):
    sent = points_of(packed(shapes))
    assert len(sent) == sum(size for outlines in shapes for size in sizes(outlines))
    every = [point for outlines in shapes for points in outlines for point in points]
    for point, original in zip(sent, every, strict=True):
        assert point == pytest.approx(original, abs=0.005 + 1e-9)


def test_of_two_pages_the_second_is_told_that_the_field_has_changed(client):
    seen = client.get("api/fields/0").json["revision"]
    first = client.post("api/fields/0/act", {"action": "remove", "cell": 1, "revision": seen})
    second = client.post("api/fields/0/act", {"action": "remove", "cell": 2, "revision": seen})
    assert (first.status, second.status) == (200, 409)
    assert "changed elsewhere" in second.json["said"]
    assert [cell["id"] for cell in client.get("api/fields/0").json["cells"]] == [2]


def test_what_cannot_be_done_is_told_in_words(client):
    answer = client.act(0, "remove", cell=77)
    assert (answer.status, answer.json["said"]) == (422, "there is no cell 77 in this field any more")
    assert (
        client.post("api/fields/0/ask", {"x": 5, "y": 5, "revision": "0.0"})
        .json["said"]
        .startswith("there is no model")
    )
    assert "no model to start from" in client.post("api/train", {}).json["said"]
    assert client.get("api/fields/3").status == 404
    assert client.get("image/0/no-such-look").status == 404


def test_the_queue_is_sent_again_only_after_a_change(client):
    first = client.get("api/queue").json
    assert [line["name"] for line in first["fields"]] == ["b.png", "a.png", "c.png"]
    assert client.get(f"api/queue?version={first['version']}").status == 204
    client.act(1, "done")
    second = client.get(f"api/queue?version={first['version']}").json
    assert [(line["name"], line["done"]) for line in second["fields"]] == [
        ("a.png", False),
        ("c.png", False),
        ("b.png", True),
    ]


def test_counts_are_of_the_field_of_done_ones_and_of_all(client):
    client.act(1, "done")
    this, done, every = client.get("api/counts/0").json
    assert [(row[0], row[1]) for row in this["rows"]] == [("L1", 1), ("L2", 1)]
    assert (done["of"], done["cells"], every["cells"]) == ("1 done", 1, 3)
    name, count, share, low, high = every["rows"][0]
    assert (name, count) == ("L1", 2)
    assert (share, low, high) == pytest.approx((2 / 3, 0.2077, 0.9385), abs=1e-4)  # Wilson's interval by hand


def test_scores_compare_what_a_model_found_with_what_is_there_now(client):
    client.act(0, "remove", cell=1)
    client.act(0, "take", candidate=2)
    client.act(0, "done")
    (of_model,) = client.get("api/train").json["scores"]
    assert (of_model["model"], of_model["fields"]) == (0, 1)
    assert (of_model["precision"], of_model["recall"], of_model["f1"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("look", ["none", "eff", "clahe"])
def test_images_come_whole_in_every_look(client, look):
    image = cv2.imdecode(np.frombuffer(client.get(f"image/0/{look}").body, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (*SIZE, 3)


def test_thumbnails_are_small(client, tmp_path):
    image = cv2.imdecode(np.frombuffer(client.get("thumbnail/0").body, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert max(image.shape) <= 176


def fuzzed(rng: random.Random, token: str) -> tuple[str, str, dict[str, str], bytes]:
    """A request that a broken or hostile client might send."""
    junk = [
        None,
        True,
        -1,
        0,
        1,
        2,
        1e308,
        float("nan"),
        "",
        "x" * 50,
        [],
        {},
        [[0, 0]],
        [[1, 2], [30, 4], [5, 60]],
        2**70,
    ]
    parts = ["api", "set", "queue", "fields", "counts", "train", "image", "thumbnail", "0", "1", "-1", "99", "9" * 30]
    parts += [
        "act",
        "ask",
        "none",
        "eff",
        "..",
        ".",
        "%2e%2e",
        "etc",
        "passwd",
        "review.js",
        "\x00",
        "ü",
        "c:",
        "//",
        "~",
    ]
    keys = ["action", "revision", "cell", "label", "points", "part", "candidate", "x", "y", "field", "drop", "put"]
    actions = [
        "name",
        "remove",
        "reshape",
        "stroke",
        "take",
        "undo",
        "redo",
        "done",
        "open",
        "draw",
        "cut",
        "__class__",
    ]
    likely = rng.random() < 0.6
    path = f"api/fields/{rng.choice([0, 1, 2])}/act" if likely else "/".join(rng.choices(parts, k=rng.randint(0, 5)))
    values = {key: rng.choice(junk) for key in rng.sample(keys, rng.randint(0, 8))} | {"action": rng.choice(actions)}
    values["revision"] = rng.choice(["0.0", "0.1", f"0.{rng.randint(0, 60)}", None, 0])
    body = json.dumps(values).encode()
    if rng.random() < 0.2:
        body = (
            bytes(rng.choices(range(256), k=rng.randint(0, 60)))
            if rng.random() < 0.5
            else b"[" * rng.randint(1, 90_000)
        )
    headers = {"content-type": rng.choice(["application/json"] * 5 + ["text/plain", "", "application/json; charset=x"])}
    if rng.random() < 0.1:
        headers["content-length"] = rng.choice(["-1", "x", "99999999999999999", "0"])
    return rng.choice(["GET", "POST", "POST", "PUT", "DELETE", "HEAD"]), f"/{token}/{path}", headers, body


def attack(client: Client, folder, requests: int) -> None:
    before = sorted(path for path in folder.rglob("*") if "review" not in path.relative_to(folder).parts)
    rng = random.Random(0)
    statuses = set()
    for _ in range(requests):
        answer = client.ask(*fuzzed(rng, client.desk.token))
        statuses.add(answer.status)
        assert b"Traceback" not in answer.body
    assert statuses <= {200, 204, 404, 405, 409, 413, 422}
    assert {200, 404, 409, 422} <= statuses
    assert sorted(path for path in folder.rglob("*") if "review" not in path.relative_to(folder).parts) == before
    review(folder)  # the journal can be read


def test_junk_gets_an_answer_and_no_traceback(client, tmp_path):
    attack(client, tmp_path, 300)


@pytest.mark.slow
def test_ten_thousand_requests_of_junk_get_an_answer_and_no_traceback(client, tmp_path):
    attack(client, tmp_path, 10_000)

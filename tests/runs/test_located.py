"""Where a trained model lies, with a server of our own in the hub's place."""

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wbcjax.runs import located as module
from wbcjax.runs.located import located
from wbcjax.runs.packed import pack, variables_of
from wbcjax.system import run_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What the hub answers of one model, `lab/cells`: its files at one commit."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.path.startswith("/api/models/lab/cells/tree/"):
            body = json.dumps([self._entry(path) for path in self.folder.iterdir()]).encode()
        elif self.path.startswith("/api/models/lab/cells"):
            siblings = [{"rfilename": path.name} for path in self.folder.iterdir()]
            body = json.dumps({"id": "lab/cells", "sha": COMMIT, "siblings": siblings}).encode()
        elif self.path.startswith("/lab/cells/resolve/") and (self.folder / name).is_file():
            body = (self.folder / name).read_bytes()
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    @staticmethod
    def _entry(path: Path) -> dict[str, object]:
        data = path.read_bytes()
        return {"type": "file", "path": path.name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def log_message(self, *_) -> None:
        """Nothing is told of each request."""


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of the model that the hub has, beside a file that no packed run has."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface-hub is not installed")
    shutil.unpack_archive(Path(__file__).parent / "older.zip", tmp_path)
    pack(tmp_path / "older/detector", tmp_path / "hub")
    (tmp_path / "hub/code.py").write_text("raise SystemExit('run')")
    Hub.folder = tmp_path / "hub"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    module._fetched.cache_clear()
    yield tmp_path / "hub"
    server.shutdown()
    server.server_close()


def test_a_model_of_the_hub_is_fetched_without_the_code_beside_it(hub):
    place = located("hf://lab/cells")
    assert {path.name for path in place.iterdir()} == {path.name for path in hub.iterdir()} - {"code.py"}
    assert {path.name for path in place.iterdir()} <= set(run_files.PACKED)
    assert variables_of(place)[1] == variables_of(hub)[1]


def test_a_model_that_the_hub_lacks_is_told_in_one_line(hub):
    with pytest.raises(OSError, match="'hf://lab/others' cannot be fetched: ") as error:
        located("hf://lab/others")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["hf://", "hf://cells", "hf://lab/cells/best", "hf:///cells"])
def test_a_name_that_is_none_of_the_hubs_is_refused(name):
    with pytest.raises(ValueError, match="is no model of the hub: give hf://OWNER/NAME"):
        located(name)


def test_without_the_hubs_library_its_installation_is_named(monkeypatch):
    module._fetched.cache_clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"needs huggingface-hub: pip install 'wbcjax\[hub\]'"):
        located("hf://lab/cells")


def test_paths_stay_paths_even_one_named_starter(tmp_path):
    assert located(tmp_path) == tmp_path
    assert located("./starter") == located(Path("./starter")) == Path("starter")
    assert located("starter").name == "starter"
    assert located("starter").is_absolute()

"""The chapters as a reader meets them: JupyterLab and Notebook 7 in a browser, a kernel behind, mouse and keyboard."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
from jupyter_client import BlockingKernelClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = ["01_exponential_moving_averages", "03_complex_ema"]
TOKEN = "for-this-test-alone"
EXPLORERS = """
import gc, json
from megalodon_edu.explorers.framework import Explorer
print(json.dumps({e.model_id: e.settings() for e in gc.get_objects() if issubclass(type(e), Explorer)}))
"""
# Every code cell has a number and none is waiting; with `started`, at least one must be waiting or running.
FINISHED = """
(started) => {
  const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((prompt) => prompt.textContent);
  const busy = prompts.some((prompt) => prompt.includes("*"));
  return started ? busy : prompts.length > 5 && !busy && prompts.every((prompt) => /\\d/.test(prompt));
}
"""


class Server:
    """A running Jupyter server on copies of the notebooks, with no settings but its own."""

    def __init__(self, folder: Path, application: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.runtime = folder / "runtime"
        (folder / "notebooks").mkdir()
        for chapter in CHAPTERS:
            shutil.copy(NOTEBOOKS / f"{chapter}.ipynb", folder / "notebooks")
        labconfig = folder / "config" / "labconfig"
        labconfig.mkdir(parents=True)
        news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (labconfig / "page_config.json").write_text(json.dumps(news))
        self.log = (folder / "server.log").open("w+")
        self.process = subprocess.Popen(
            [
                *[sys.executable, "-m", application, "--no-browser", "--allow-root", "--ip=127.0.0.1"],
                *[f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"],
                f"--ServerApp.root_dir={folder / 'notebooks'}",
            ],
            cwd=folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ
            | {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "config")}
            | {"JUPYTER_RUNTIME_DIR": str(self.runtime), "JUPYTER_DATA_DIR": str(folder / "data")}
            | {"IPYTHONDIR": str(folder / "ipython"), "OMP_NUM_THREADS": "1"},
        )

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={TOKEN}"

    def ask(self, path: str) -> object:
        with urllib.request.urlopen(self.url(path), timeout=10) as answer:
            return json.load(answer)

    def wait(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask("api/status")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.log.seek(0)
        pytest.fail(f"the server did not answer:\n{self.log.read()[-3000:]}")

    def wait_for_kernel(self, notebook: str, seconds: float = 90) -> None:
        """Wait until the page is connected to an idle kernel: cells run before that are lost."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kernels = [session["kernel"] for session in self.ask("api/sessions") if session["path"] == notebook]
            if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
                return
            time.sleep(0.2)
        pytest.fail(f"no kernel was ready for {notebook}: {kernels}")

    def explorers(self, notebook: str) -> dict[str, dict]:
        """The settings of every explorer that lives in the notebook's kernel, read from the kernel."""
        session = next(s for s in self.ask("api/sessions") if s["path"] == notebook)
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{session['kernel']['id']}.json"))
        client.load_connection_file()
        client.start_channels()
        said = []

        def keep(message):
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        try:
            client.wait_for_ready(timeout=60)
            reply = client.execute_interactive(EXPLORERS, store_history=False, timeout=60, output_hook=keep)
            assert reply["content"]["status"] == "ok", reply["content"]
        finally:
            client.stop_channels()
        return json.loads("".join(said))

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="module", params=["jupyterlab"])
def server(request, browser, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("jupyter"), request.param)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def opened(server, page):
    """A function that opens a notebook and records which hosts the page asks."""
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.set_default_timeout(90_000)

    def open_notebook(notebook, application="lab/tree"):
        page.goto(server.url(f"{application}/{notebook}"))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(state="attached")  # hidden while it is below the fold
        server.wait_for_kernel(notebook)
        return page

    yield open_notebook
    assert hosts - {None} == {"127.0.0.1"}, "the page asked other machines"


def run_all(page):
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(FINISHED, arg=True)
    page.wait_for_function(FINISHED, arg=False, timeout=180_000)


def live_explorer(page):
    explorer = page.locator(".mx").first
    explorer.scroll_into_view_if_needed()
    explorer.locator("svg").first.wait_for()
    return explorer


def picture(explorer):
    return "".join(svg.inner_html() for svg in explorer.locator("svg").all())


def broken_widgets(page):
    return [words for words in ("Error displaying widget", "model not found") if words in page.content()]


def changed(before, after):
    """The controls that differ, over all explorers."""
    return {
        (model, name)
        for model, settings in after.items()
        for name, value in settings.items()
        if before[model][name] != value
    }


@pytest.mark.timeout(420)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_controls_move_the_picture_and_pythons_traits_in_jupyterlab(chapter, server, opened):
    notebook = f"{chapter}.ipynb"
    page = opened(notebook)
    assert not broken_widgets(page), "before any cell has run"
    run_all(page)
    explorer = live_explorer(page)
    assert not broken_widgets(page)

    sliders = explorer.locator("input[type=range]")
    moved = []
    for slider in sliders.all()[:2]:
        slider.scroll_into_view_if_needed()
        states, pictures = server.explorers(notebook), picture(explorer)
        slider.press("ArrowLeft")
        slider.press("ArrowLeft")
        assert picture(explorer) != pictures, "the keyboard moved nothing"
        moved.append(until_changed(server, notebook, states))

    slider = sliders.first
    slider.scroll_into_view_if_needed()
    states, pictures, box = server.explorers(notebook), picture(explorer), slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.85, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert picture(explorer) != pictures, "the mouse moved nothing"
    moved.append(until_changed(server, notebook, states))
    assert len({model for model, _ in set().union(*moved)}) == 1, "one explorer was moved, others changed too"


def until_changed(server, notebook, before, seconds=30):
    """The controls that the kernel has heard of: a message is on its way when the browser has drawn already."""
    end = time.monotonic() + seconds
    while not (found := changed(before, server.explorers(notebook))):
        assert time.monotonic() < end, "Python's traits did not follow"
        time.sleep(0.1)
    return found


@pytest.mark.timeout(420)
@pytest.mark.parametrize("server", ["notebook"], indirect=True)
def test_explorers_live_in_notebook_7(server, opened):
    notebook = f"{CHAPTERS[0]}.ipynb"
    page = opened(notebook, "notebooks")
    run_all(page)
    explorer = live_explorer(page)
    states, pictures = server.explorers(notebook), picture(explorer)
    slider = explorer.locator("input[type=range]").first
    slider.click(position={"x": 10, "y": slider.bounding_box()["height"] / 2})
    assert picture(explorer) != pictures and not broken_widgets(page)
    assert until_changed(server, notebook, states)
    states, pictures = server.explorers(notebook), picture(explorer)
    page.keyboard.press("ArrowRight")
    assert picture(explorer) != pictures
    assert until_changed(server, notebook, states)

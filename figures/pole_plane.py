"""Film the pole-plane explorer in a browser: `python figures/pole_plane.py` writes figures/pole_plane.gif.

The mouse drags pole 1 of the living explorer around a loop, and each picture is a screenshot of what it drew. Needs
chromium, and the package with its extras lab and test.
"""

import json
import math
import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from megalodon_edu.explorers import PolePlaneExplorer

FILE = Path(__file__).with_suffix(".gif")
FRAMES = 48
MILLISECONDS = 90
COLOURS = 48
WIDTH, HEIGHT = 880, 1000
START = {"poles": 1, "radii": [0.93, 0.85, 0.9, 0.7], "angles": [0.35, 1.6, -0.8, 2.6]}

# What stands in for the kernel: the explorer's script reads and sets its state here.
PAGE = """
async ({ esm, css, state }) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const listeners = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      (listeners[`change:${name}`] ?? []).forEach((listener) => listener());
    },
    save_changes: () => {},
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off: () => {},
  };
  const explorer = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const el = document.body.appendChild(document.createElement("div"));
  await explorer.default.render({ model, el });
}
"""


def path(share: float) -> tuple[float, float]:
    """Radius and angle of the pole after this share of the loop: out to the circle, round to 2.5 rad, and back."""
    swing = (1 - math.cos(2 * math.pi * share)) / 2
    return 0.93 - 0.09 * math.sin(2 * math.pi * share), 0.35 + 2.15 * swing


def film(page: Page) -> list[Image.Image]:
    """Drag the pole along its path and take a picture at each step."""
    dot = page.get_by_role("slider", name="Pole 1").locator(".mx-handle-dot")
    box = dot.bounding_box()
    canvas = page.locator("svg.mx-plane").bounding_box()
    assert box is not None and canvas is not None
    centre = (canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2)
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    unit = math.hypot(at[0] - centre[0], at[1] - centre[1]) / START["radii"][0]
    page.mouse.move(*at)
    page.mouse.down()
    pictures = []
    for number in range(FRAMES):
        radius, angle = path(number / FRAMES)
        page.mouse.move(centre[0] + unit * radius * math.cos(angle), centre[1] - unit * radius * math.sin(angle))
        shot = page.locator(".mx").screenshot()
        pictures.append(Image.open(BytesIO(shot)).convert("RGB"))
    page.mouse.up()
    return pictures


def main() -> None:
    """Write the film."""
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        sys.exit("no chromium here: install one (Debian: apt-get install chromium)")
    widget = json.loads(json.dumps(PolePlaneExplorer(**START).get_state()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.evaluate(PAGE, {"esm": widget["_esm"], "css": widget["_css"], "state": widget})
        pictures = film(page)
        browser.close()
    # One palette for all, so that what stands still is not drawn again.
    palette = pictures[0].quantize(COLOURS)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(FILE, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, optimize=True)
    width, height = frames[0].size
    print(f"{FILE}: {len(frames)} pictures of {width} x {height}, {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

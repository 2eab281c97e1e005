"""Records the live page of the demo's lab into docs/ui.webp: `python docs/record.py`.

Needs Chromium, playwright (extra ui-tests) and Pillow. Starts a stack of its own, sends the demo's load, and
drives the page as a reader would: flow, the decision behind a request, other weights.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "ui.webp"
PRESETS = ROOT / "gateway" / "presets" / "demo"
NAME = "recording"
SIZE, SHOWN = (1120, 700), (840, 525)
CHROMIUM = os.environ.get("CHROMIUM", "/usr/lib/chromium/chromium")
Frames = list[tuple[Image.Image, int]]  # milliseconds each


def simfleet(*arguments: str, module: str = "gateway.cli") -> list[str]:
    return [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())", *arguments]


def manifests(folder: Path) -> Path:
    """The lab with the fleet that the demo's scenario supposes."""
    lab = ROOT / "gateway" / "presets" / "lab" / "lab.yaml"
    command = simfleet(
        "scenarios", str(PRESETS / "mixed.yaml"), "--manifests", str(lab), module="loadgen.cli"
    )
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path = folder / "lab.yaml"
    path.write_text(made)
    return path


def frame(page: Page, frames: Frames, milliseconds: int) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    frames.append((picture.resize(SHOWN, Image.Resampling.LANCZOS), milliseconds))


def record(url: str) -> Frames:
    """The tour; the load runs meanwhile."""
    frames: Frames = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(url)
        page.wait_for_selector("#tab-overview")
        page.get_by_text("1 min").click()
        for _ in range(8):
            time.sleep(1)  # the page's own tick
            frame(page, frames, 500)
        page.click("#tab-requests")
        page.locator(".rows tbody tr").first.wait_for()
        frame(page, frames, 1200)
        page.locator(".rows tbody tr").nth(2).click()
        page.wait_for_selector(".drawer [data-reason]")
        frame(page, frames, 2500)
        page.keyboard.press("Escape")
        page.click("#tab-whatif")
        slider = page.locator(".whatif input[type=range], input[type=range]").nth(2)
        slider.wait_for()
        frame(page, frames, 1500)
        slider.focus()
        for _ in range(3):
            for _ in range(5):
                page.keyboard.press("ArrowLeft")
            time.sleep(0.3)  # it decides anew
            frame(page, frames, 400)
        page.keyboard.press("Home")
        time.sleep(1)
        frame(page, frames, 4000)
        browser.close()
    return frames


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SIMFLEET_STATE_DIR": folder}

        def run(*arguments: str) -> str:
            done = subprocess.run(
                simfleet(*arguments), env=environment, capture_output=True, text=True, check=True
            )
            return done.stdout

        lab, picker = str(manifests(Path(folder))), str(PRESETS / "page.yaml")
        run("up", "--detach", "--ui", "--name", NAME, "-f", lab, "--epp", "reference", "--epp-config", picker)
        load: subprocess.Popen[bytes] | None = None
        try:
            stack: dict[str, Any] = json.loads(run("ps", "--name", NAME, "--format", "json"))["stacks"][0]
            command = ["run", str(PRESETS / "mixed.yaml"), "--target", stack["url"], "--duration", "40s"]
            command += ["-q", "--no-selftest", "-o", str(Path(folder) / "run")]
            load = subprocess.Popen(
                simfleet(*command, module="loadgen.cli"), env=environment, stdout=subprocess.DEVNULL
            )
            time.sleep(12)  # something to look at
            frames = record(run("ui", "--name", NAME).split()[0])
        finally:
            if load is not None:
                load.terminate()
                load.wait()
            run("down", "--name", NAME)
    pictures, times = [list(part) for part in zip(*frames, strict=True)]
    pictures[0].save(
        TARGET, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=55, method=6
    )
    print(f"{TARGET.relative_to(ROOT)}: {len(frames)} frames, {TARGET.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

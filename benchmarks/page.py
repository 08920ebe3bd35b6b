"""Measures the web page of a running server in a browser: paint, bytes, requests. Writes JSON.

The browser starts with an empty cache. In turn, it visits a page of one word, which shows how busy
the machine is. Does not start the server, and does not look at the page's content.

    rag-vqa serve flags.kb &
    python benchmarks/page.py http://127.0.0.1:8000/ --out benchmarks/results/page.json
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Milliseconds since the navigation began; bytes of bodies before compression.
MEASURE = """() => {
  const entries = (kind) => performance.getEntriesByType(kind);
  const files = [...entries("navigation"), ...entries("resource")];
  return {
    ...Object.fromEntries(entries("paint").map((one) => [one.name, one.startTime])),
    load: entries("navigation")[0].loadEventEnd,
    bytes: files.filter((one) => !one.name.includes("/v1/"))
      .reduce((sum, one) => sum + one.decodedBodySize, 0),
  };
}"""


def visit(browser: Browser, address: str) -> dict[str, Any]:
    """One visit with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address, wait_until="networkidle")
    found: dict[str, Any] = page.evaluate(MEASURE)
    found["requests"] = len(asked)
    found["elsewhere"] = sum(not url.startswith(address) for url in asked)
    context.close()
    return found


class OneWord(BaseHTTPRequestHandler):
    """Serves the smallest page that a browser can paint."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>x</title><p>word"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def measure_pages(browser: Browser, address: str, visits: int) -> dict[str, Any]:
    least = ThreadingHTTPServer(("127.0.0.1", 0), OneWord)
    threading.Thread(target=least.serve_forever, daemon=True).start()
    pages = {"page": address, "one word": f"http://127.0.0.1:{least.server_port}/"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in pages}
    for _ in range(visits + 1):
        for name, where in pages.items():
            found[name].append(visit(browser, where))
    least.shutdown()
    return {name: summary(of[1:]) for name, of in found.items()}  # the first is the browser's own


def summary(visits: list[dict[str, Any]]) -> dict[str, Any]:
    median = {key: statistics.median(one[key] for one in visits) for key in visits[0]}
    return {"median": median, "least": min(one["first-paint"] for one in visits), "all": visits}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address", help="Address of the page, with a slash at its end.")
    options.add_argument("--visits", type=int, default=20)
    options.add_argument(
        "--note", default="", help="Keep this note with the figures: what else was running."
    )
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise SystemExit(f"no browser found. Install one of {', '.join(NAMES)} on the PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        version = browser.version
        pages = measure_pages(browser, given.address, given.visits)
        browser.close()
    found = {
        "date": datetime.date.today().isoformat(),
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "browser": version, "note": given.note, "milliseconds, bytes, requests": pages,
    }  # fmt: skip
    text = json.dumps(found, indent=1) + "\n"
    given.out.write_text(text, "utf-8") if given.out else print(text, end="")


if __name__ == "__main__":
    main()

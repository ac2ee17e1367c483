"""A reader in Chromium follows a number to its runs; nothing goes wrong in the console, and nothing is wider than the page.

    apt-get install chromium
    python tests/campaigns/browser.py REPORT          # a folder that `xlift report` wrote

Exit status 1, with what is wrong, at 1200 or at 390 pixels.
"""

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
LINK = "[...document.querySelectorAll('figure.table')].find(t => t.querySelector('figcaption')?.innerText.startsWith('%s')).querySelector('.query a')"


class Browser:
    """Chromium, spoken to through a pipe: requests and answers are JSON, each ended by a zero byte."""

    def __init__(self, folder: str) -> None:
        ours, theirs, program = os.pipe(), os.pipe(), shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            raise SystemExit("no chromium; on Debian: apt-get install chromium")

        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1]))  # out of the way of 3 and 4

        def pipes() -> None:  # Chromium reads file descriptor 3 and writes 4
            os.dup2(read, 3)
            os.dup2(write, 4)

        command = [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL)
        self.out, self.inward = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb", 0)
        self.number, self.rest, self.events = 0, b"", list[dict[str, Any]]()
        page = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        return self.ask(method, session=self.session, **params)

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self.number += 1
        request = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self.out.write(json.dumps(request).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def until(self, event: str) -> None:
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            self.rest += os.read(self.inward.fileno(), 1 << 20)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def value(self, script: str) -> Any:
        found = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    @property
    def errors(self) -> list[str]:
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        found = [event for event in self.events if event.get("method") in kinds]
        found += [e for e in self.events if e.get("method") == "Runtime.consoleAPICalled" and e["params"]["type"] == "error"]
        return [json.dumps(event["params"])[:300] for event in found]


def read(report: Path, width: int) -> list[str]:
    """What is wrong with a report's page at a width in pixels."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(folder)
        try:
            browser.tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
            browser.tell("Page.navigate", url=(report / "report.html").resolve().as_uri())
            browser.until("Page.loadEventFired")
            seen = browser.errors
            wrong = list(seen)
            link = LINK % "Change of the gain with size"
            if not browser.value(f"Boolean({link})"):
                return [*wrong, "the table of slopes names no runs"]
            browser.value(f"{link}.click()")
            shown = browser.value(
                "(() => { const p = document.querySelector('#runs'); return p.closest('details').open && p.checkVisibility() "
                "&& p.getBoundingClientRect().top < innerHeight ? p.closest('details').innerText : '' })()"
            )
            with open(report / "tables" / "gains.csv", encoding="utf-8") as file:
                runs = {row[name] for row in csv.DictReader(file) for name in ("treated_run", "baseline_run", "intermediate_run")}
            if lost := [run for run in runs if run not in (shown or "")]:
                wrong.append(f"{len(lost)} of {len(runs)} runs behind the slopes are not shown after a click, such as {lost[0]}")
            if (wide := browser.value("document.documentElement.scrollWidth")) > width:
                wrong.append(f"the page is {wide} pixels wide at {width}")
            return [*wrong, *browser.errors[len(seen) :]]
        finally:
            browser.process.kill()
            browser.process.wait()


def main(report: Path) -> int:
    status = 0
    for width in (1200, 390):
        wrong = read(report, width)
        print(f"{width} pixels: " + ("; ".join(wrong) or "followed to the runs, no console error, nothing too wide"))
        status |= bool(wrong)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

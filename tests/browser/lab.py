"""What a person does in JupyterLab, in words: open a notebook, run it, look for errors, move a control and
see what changes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Notebook", "Panel"]

_STATE = """() => {
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
  const prompts = cells.map(cell => cell.querySelector('.jp-InputPrompt').textContent.trim());
  const outputs = kind => [...document.querySelectorAll('.jp-OutputArea-output' + kind)];
  const red = outputs('[data-mime-type="application/vnd.jupyter.stderr"]');
  // JupyterLab may show errors as stderr.
  const failed = node => node.textContent.includes('Traceback (most recent call last)');
  const raised = outputs('[data-mime-type="application/vnd.jupyter.error"]');
  const errors = raised.concat(red.filter(failed));
  const spoken = red.filter(node => !failed(node));
  return {
    cells: cells.length,
    done: prompts.filter(text => /^\\[\\d+\\]/.test(text)).length,
    running: prompts.filter(text => text.startsWith('[*]')).length,
    errors: errors.map(node => node.textContent),
    stderr: spoken.map(node => node.textContent).filter(text => text.trim() && !/it\\/s|s\\/it/.test(text)),
    figures: document.querySelectorAll('.jp-OutputArea-output img').length,
    broken: outputs('').filter(n => /Error displaying widget/.test(n.textContent)).length,
  };
}"""


class Notebook:
    """One notebook in one tab. `complaints` are uncaught errors of the page's own scripts."""

    def __init__(self, page: Any, name: str, screenshots: Path) -> None:
        self.page, self.name, self.folder = page, name, screenshots
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        screenshots.mkdir(parents=True, exist_ok=True)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=600_000)
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=600_000)
        self.shoot("opened")

    def run_all(self, seconds: float = 1800) -> None:
        """Run → Run All Cells, and wait until every cell has its number or one has failed. Folded cells
        show none, so unfold them first."""
        self._menu("View", "Expand All Code")
        self._menu("Run", "Run All Cells")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state()
            if state["errors"] or state["done"] == state["cells"]:
                break
            time.sleep(0.5)
        self.page.mouse.move(5, 5)  # off the menu
        self.shoot("after-running")

    def _menu(self, menu: str, entry: str) -> None:
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_text(entry, exact=True).click()

    def state(self) -> dict[str, Any]:
        return self.page.evaluate(_STATE)

    def shoot(self, what: str) -> None:
        """Keep what is seen as build/screenshots/<notebook>-<what>.png."""
        self.page.screenshot(path=self.folder / f"{self.name}-{what}.png")

    def panel(self, label: str) -> "Panel":
        """The widget that has a control with this label."""
        boxes = self.page.locator(".jp-OutputArea-output .widget-vbox").filter(
            has=self.page.get_by_text(label, exact=True)
        )
        return Panel(self, boxes.first)

    def close(self) -> None:
        """End the kernel, so that the next notebook has the memory, and close the tab."""
        self.page.evaluate("""async () => {
              const xsrf = document.cookie.match(/_xsrf=([^;]+)/);
              const headers = xsrf ? {'X-XSRFToken': xsrf[1]} : {};
              for (const session of await (await fetch('/api/sessions')).json())
                await fetch('/api/sessions/' + session.id, {method: 'DELETE', headers});
            }""")
        self.page.close()


class Panel:
    """A widget with labelled controls. Controls are found by label and moved by keyboard, as someone
    without a mouse would."""

    def __init__(self, notebook: Notebook, box: Any) -> None:
        self.notebook, self.page, self.box = notebook, notebook.page, box
        box.wait_for(timeout=300_000)
        box.scroll_into_view_if_needed()

    def control(self, label: str) -> Any:
        """The row of controls with this label."""
        return (
            self.box.locator(".widget-inline-hbox").filter(has=self.page.get_by_text(label, exact=True)).first
        )

    def slide(self, label: str, key: str = "ArrowRight", times: int = 1) -> None:
        handle = self.control(label).locator('[role="slider"], input[type="range"]').first
        # It ignores keys until then.
        self.page.wait_for_function("handle => !handle.closest('[disabled]')", arg=handle.element_handle())
        handle.focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def choose(self, label: str, key: str = "ArrowDown") -> str:
        """Move in a dropdown by keyboard and return what it says then. Space opens it: JupyterLab keeps
        arrow keys from a closed one."""
        select = self.control(label).locator("select").first
        select.focus()
        for press in ("Space", key, "Enter"):
            self.page.keyboard.press(press)
            self.page.wait_for_timeout(300)  # the list of choices is a window of its own, which has to open
        return str(select.evaluate("s => s.selectedOptions[0].textContent")).replace(
            "\N{NO-BREAK SPACE}", " "
        )

    def tick(self, label: str) -> None:
        """Set or clear a check box by keyboard."""
        self.box.get_by_label(label, exact=True).focus()
        self.page.keyboard.press("Space")

    def press(self, text: str) -> None:
        button = self.box.get_by_role("button", name=text, exact=True)
        button.focus()
        self.page.keyboard.press("Enter")

    def text(self) -> str:
        return self.box.inner_text()

    def pictures(self) -> list[str]:
        """A number for each picture that changes with its pixels."""
        return self.box.locator("img").evaluate_all("""async images => Promise.all(images.map(async image => {
              const bytes = await (await fetch(image.src)).arrayBuffer();
              const hash = await crypto.subtle.digest('SHA-256', bytes);
              return [...new Uint8Array(hash)].join('.');
            }))""")

    def wait_for_text(self, text: str, seconds: float = 300) -> None:
        self.box.get_by_text(text).first.wait_for(timeout=1000 * seconds)

    @contextmanager
    def redraws(self, seconds: float = 300) -> Iterator[None]:
        """What is done inside changes a picture; fails if none has changed in time."""
        before = self.pictures()
        yield
        end = time.monotonic() + seconds
        while self.pictures() == before:
            assert time.monotonic() < end, (
                f"no picture changed within {seconds} seconds; the widget says: {self.text()}"
            )
            time.sleep(0.1)

    def shoot(self, what: str) -> None:
        self.box.screenshot(path=self.notebook.folder / f"{self.notebook.name}-{what}.png")

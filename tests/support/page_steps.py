"""What a person does on the page, step by step. Knows its elements, not what is tested."""

from playwright.sync_api import Page


def ask(page: Page, question: str = "What is the capital?") -> None:
    """Asks, and waits for the end of the answer."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_selector(".answer[aria-busy=false]")


def choose(page: Page, name: str, data: bytes, kind: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})
    page.wait_for_selector("#preview .name")


def focused(page: Page) -> str:
    """What has the focus, as a screen reader would name it."""
    return str(
        page.evaluate(
            "(({ariaLabel, innerText, id}) => (ariaLabel || innerText || id).trim())"
            "(document.activeElement)"
        )
    )

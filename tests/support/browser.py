"""A real browser, headless, driven over the DevTools protocol: what it loads, shows, says and asks for.

async with browser() as chromium, chromium.page() as page:
    await page.open(f"{gateway.url}/cache/dashboard")
    await page.until("document.title === 'x'")              # waits for what is true
    await page.click("#unlock")
    await page.write("secret"); await page.press("Enter")
    assert page.complaints == []

It is the `chromium` (or Chrome) on PATH; where there is none its tests are skipped, and say so.
"""

import asyncio
import base64
import json
import shutil
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import aiohttp
import pytest

PATIENCE = 30.0  # seconds after which a wait of a test is a failure of the test
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
wants_browser = pytest.mark.skipif(FOUND is None, reason="no Chromium on PATH (Debian: apt install chromium)")

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers; the only pages it sees are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_KEYS: Final[Mapping[str, tuple[str, int, str]]] = {  # code, number, text
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
}
_SHIFT = 8


class Failed(AssertionError):
    """A script in the page threw, or the browser refused a command."""


class Page:
    """One tab. `complaints` is what its console and its policy said against it, `requests` what it asked for."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def command(self, name: str, **values: Any) -> Any:
        return await self._browser.command(name, self._session, **values)

    async def open(self, url: str) -> None:
        """Go there, and wait for its answer; what the page then loads is to be waited for by `until`."""
        told = await self.command("Page.navigate", url=url)
        if told.get("errorText"):
            raise Failed(f"{url}: {told['errorText']}")

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, promises awaited."""
        how = {"awaitPromise": True, "returnByValue": True, "allowUnsafeEvalBlockedByCSP": False}
        told = await self.command("Runtime.evaluate", expression=script, **how)
        if (wrong := told.get("exceptionDetails")) is not None:
            raise Failed(f"{script}: {wrong.get('exception', {}).get('description') or wrong['text']}")
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true; its value. A page that is being loaded is waited for too."""
        last: object = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        if last := await self.evaluate(script):
                            return last
                    except Failed as error:
                        last = error
                    await asyncio.sleep(0.02)
        except TimeoutError:
            text = await self.evaluate("document.body?.innerText")
            raise Failed(f"waited in vain for {script}: {last}\n{text}\n{self.complaints}") from None

    async def text(self, selector: str) -> str:
        return str(await self.until(f"document.querySelector({json.dumps(selector)})?.innerText"))

    async def shows(self, selector: str, text: str) -> None:
        """Wait until the text is to be seen in what the selector names."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].some("
        await self.until(f"{found}e => e.checkVisibility() && e.innerText.includes({json.dumps(text)}))")

    async def click(self, selector: str) -> None:
        """Wait for it to be there, and click its middle as a pointer does."""
        find = f"document.querySelector({json.dumps(selector)})"
        seen = f"{find}?.checkVisibility() && !{find}.disabled && ({find}.scrollIntoView({{block: 'center'}}), true)"
        await self.until(seen)
        box = await self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({find}.getClientRects()[0])")
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    async def write(self, text: str) -> None:
        """Into what has the focus."""
        await self.command("Input.insertText", text=text)

    async def press(self, key: str, *, shift: bool = False) -> None:
        code, number, text = _KEYS[key]
        said: dict[str, Any] = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        said |= {"modifiers": _SHIFT} if shift else {}
        await self.command("Input.dispatchKeyEvent", type="keyDown", **said, **({"text": text} if text else {}))
        await self.command("Input.dispatchKeyEvent", type="keyUp", **said)

    async def view(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """A window of this size, and what its owner prefers."""
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode((await self.command("Page.captureScreenshot", format="png"))["data"])

    def hear(self, name: str, told: Mapping[str, Any]) -> None:
        match name:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(told["args"]))
            case "Audits.issueAdded" if told["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(str(told["issue"]))
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])


class Browser:
    """One process with a profile of its own."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A new tab, as of another person: it shares no storage, cookie or cache with any other."""
        person = (await self.command("Target.createBrowserContext"))["browserContextId"]
        target = (await self.command("Target.createTarget", url="about:blank", browserContextId=person))["targetId"]
        session = (await self.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log", "Audits", "Accessibility"):
            await page.command(f"{domain}.enable")
        try:
            yield page
        finally:
            await self.command("Target.disposeBrowserContext", browserContextId=person)

    async def command(self, name: str, session: str | None = None, **values: Any) -> Any:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        to = {} if session is None else {"sessionId": session}
        await self._socket.send_json({"id": number, "method": name, "params": values, **to})
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def listen(self) -> None:
        """Until the socket ends."""
        async for message in self._socket:
            told = message.json()
            if (answer := self._waiting.pop(told.get("id"), None)) is None:
                if (page := self._pages.get(told.get("sessionId"))) is not None:
                    page.hear(told["method"], told["params"])
            elif not answer.done():
                if "error" in told:
                    answer.set_exception(Failed(told["error"]["message"]))
                else:
                    answer.set_result(told["result"])


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Started, and ended with all of its processes."""
    assert FOUND is not None
    profile = Path(mkdtemp(prefix="cachegate-browser-"))
    process = await asyncio.create_subprocess_exec(
        FOUND, *_FLAGS, f"--user-data-dir={profile}", "about:blank", stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        url = await _listens(process, profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            chromium = Browser(socket)
            listening = asyncio.create_task(chromium.listen())
            yield chromium
            await chromium.command("Browser.close")
            await listening
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _listens(process: Subprocess, file: Path) -> str:
    """Wait until it says on which port and path it can be driven."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lines = file.read_text().split() if file.exists() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            assert process.returncode is None, "the browser ended at once"
            await asyncio.sleep(0.02)

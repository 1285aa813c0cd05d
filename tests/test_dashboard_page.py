"""The dashboard in a real browser, before real gateways (rows 103, 201, 206, 208)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.browser import Browser, Page, browser, wants_browser
from tests.support.faults import ReservedPort
from tests.support.gateway import TOKEN, Client, running
from tests.support.origin import Origin
from tests.support.process import Process, serving
from tests.support.redis_servers import redis_server

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), wants_browser]

RULES = {
    "rules": [
        {"name": "users", "pattern": "/users/*", "ttl": 60, "cost": 0.5, "tags": ["user-{path[1]}"]},
        {"name": "rest", "pattern": "/list", "ttl": 60},
    ]
}
VIEWS = ["overview", "entries", "explain", "purge", "events", "reason=uri-miss"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser() as found:
        yield found


@asynccontextmanager
async def shown(
    chromium: Browser, gateway: Client | Process, view: str = "", *, token: str = TOKEN
) -> AsyncIterator[Page]:
    """The page, live, and unlocked where there is a token; at its end nothing may have been said against it."""
    async with chromium.page() as page:
        await page.view(1280, 900)
        await page.open(f"{gateway.url}/cache/dashboard{view}")
        await page.shows("#link", "Live")
        if token:
            await unlock(page, token)
            await page.shows("#unlock", "Lock")
        yield page
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith((gateway.url, "data:"))] == []


async def unlock(page: Page, token: str) -> None:
    await page.click("#unlock")
    await page.until("document.activeElement.id === 'token-value'")
    await page.write(token)
    await page.press("Enter")


async def go(page: Page, view: str) -> None:
    await page.evaluate(f"location.hash = '{view}'")
    name = view.partition("=")[0].capitalize()
    await page.shows("h1", name)


@asynccontextmanager
async def busy(origin: Origin, settings: object = None) -> AsyncIterator[Client]:
    """A gateway that has had some traffic."""
    for number in range(3):
        origin.answer(f"/users/{number}", body=b"x" * 1000)
    origin.answer("/list", body=b"[]")
    origin.answer("/cart", headers=[("Cache-Control", "no-store")], body=b"c")
    async with running(origin, {**RULES, **(settings or {})}) as gateway:  # type: ignore[dict-item]
        for target in ("/users/0", "/users/0", "/users/1", "/cart", "/list?page=1"):
            assert (await gateway.get(target)).status == 200
        await gateway.settled()
        yield gateway


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_every_view_loads_without_a_complaint_and_asks_nobody_else(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway) as page:
        for view in VIEWS:
            await go(page, view)
        assert {"stats", "ready", "events"} <= {re.split(r"[/?]", url)[4] for url in page.requests}


async def test_figures_follow_the_traffic(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway, token="") as page:
        await page.shows(".tile", "5 since the start")
        for _ in range(4):
            assert (await gateway.get("/users/0")).verdict == "HIT"
        await page.shows(".tile", "9 since the start")
        await page.shows(".tile", "5 calls")
        await page.shows(".tile", "2.5 in money")
        await page.shows("tbody tr", "users")
        await page.shows("tbody tr", "no-store")
        assert "Misses by upstream time lost" in await page.text("main")
        await page.shows(".locked", "token")
        assert (await page.until("document.querySelectorAll('.plot canvas').length")) == 3
        await page.click(".ranges button[value='24h']")
        await page.shows("h2", "in the last day")
        await page.shows(".chart", "Upstream time")
        said = await page.evaluate("[...document.querySelectorAll('.plot')].map(e => e.ariaLabel).join()")
        assert "Hit ratio: from store" in said


async def test_tables_are_sorted_by_their_heads(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway, token="") as page:
        rules = "[...document.querySelectorAll('[aria-label=Rules] tbody th')].map(e => e.innerText)"
        head = "[aria-label=Rules] th:nth-child({}) button"
        await page.shows("tbody tr", "users")
        await page.click(head.format(1))
        assert await page.until(f"({rules})[0] !== 'users' && {rules}") == ["(no rule)", "rest", "users"]
        await page.click(head.format(1))
        assert await page.until(f"({rules})[0] === 'users' && {rules}") == ["users", "rest", "(no rule)"]
        sorts = "[...document.querySelectorAll('[aria-label=Rules] th')].map(e => e.getAttribute('aria-sort'))"
        assert (await page.evaluate(sorts))[:2] == ["descending", "none"]


async def test_events_come_as_they_happen_and_are_filtered_and_held(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway, "#events") as page:
        while not gateway.gateway.events.here:
            await asyncio.sleep(0.01)
        assert (await gateway.purge(tag="user-1")).status == 200
        await page.shows(".events li", "purge by tag user-1")
        await gateway.get("/users/1")
        await page.shows(".events li", "/users/1")
        await page.click(".checks input[value=store]")
        await page.until("![...document.querySelectorAll('.events li')].some(e => e.innerText.includes('/users/1'))")
        await page.shows(".events li", "user-1")
        await page.click(".filters > button")
        await gateway.purge(tag="later")
        await page.shows(".filters > button", "Go on (1 event)")
        assert "later" not in await page.text(".events")
        await page.click(".filters > button")
        await page.shows(".events li", "purge by tag later")


# -- the token ---------------------------------------------------------------------------------------------------------


async def test_the_token_is_asked_for_and_kept_in_memory_alone(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, chromium.page() as page:
        await page.open(f"{gateway.url}/cache/dashboard#entries")
        await page.shows(".locked", "token alone")
        await unlock(page, "wrong-token")
        await page.shows("#token-wrong", "This is not the admin token.")
        await page.write(TOKEN)  # what is there is selected
        await page.press("Enter")
        await page.shows("tbody tr", "/users/0")
        kept = "[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href]"
        assert (await page.evaluate(kept))[:3] == ["", "{}", "{}"]
        databases = "indexedDB.databases().then(d => d.length + performance.getEntries().filter(e => e.name.includes("
        assert await page.evaluate(f"{databases}'{TOKEN}')).length)") == 0
        assert not [url for url in page.requests if TOKEN in url]
        assert await page.evaluate("document.querySelector('#token-value').value") == ""
        await page.command("Page.reload")
        await page.shows(".locked", "token alone")
        assert len(page.complaints) == 1  # the 401, which the browser tells


async def test_with_token_none_nobody_is_asked(chromium: Browser) -> None:
    async with (
        Origin() as origin,
        busy(origin, {"admin": {"token": "none"}}) as gateway,
        shown(chromium, gateway, "#entries", token="") as page,
    ):
        await page.shows("tbody tr", "/users/0")
        assert not await page.evaluate("document.querySelector('#unlock').checkVisibility()")


# -- what it leads to --------------------------------------------------------------------------------------------------


async def test_a_top_miss_leads_to_its_explanation_and_back(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway) as page:
        await page.click("a[href*='explain'][href*='cart']")
        await page.shows(".verdict", "no-store")
        assert "http://site.example/cart" in await page.text(".verdict")
        assert await page.evaluate("location.hash") == "#explain=http%3A%2F%2Fsite.example%2Fcart"
        await page.evaluate("history.back()")
        await page.shows("h1", "Overview")


async def test_explain_shows_the_trace_and_the_nearest_with_what_differs(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway, "#explain") as page:
        await page.click("#url")
        await page.write("http://site.example/list?page=2")
        await page.click("summary")
        await page.click("#headers")
        await page.write("Accept-Language: de")
        await page.click(".ask button")
        await page.shows(".verdict", "MISS")
        await page.shows(".verdict", "uri-miss")
        assert "header=Accept-Language" in await page.evaluate("location.hash")
        marked = "[...document.querySelectorAll('.trace mark')].map(e => e.innerText)"
        assert await page.evaluate(marked) == ["?page=2", "?page=1", "2", "1"]
        steps = await page.evaluate("[...document.querySelectorAll('.steps h2')].map(e => e.innerText)")
        assert [step.split("?")[0] for step in steps] == [
            "Which rule", "Which key", "Is it stored", "What is asked upstream", "Would the answer be stored",
        ]  # fmt: skip
        assert 'key.query.ignore: ["page"]' in await page.text(".advice")
        await page.click(".pair + .scroll + p a")
        await page.shows(".verdict", "HIT")
        await page.click(".verdict a[href*=reason]")
        await page.shows("main", "A stored copy that is still fresh answers.")


async def test_what_cannot_be_explained_says_why(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin, {"admin": {"token": "none"}}) as gateway, chromium.page() as page:
        await page.open(f"{gateway.url}/cache/dashboard#explain=ftp%3A%2F%2Fx")
        await page.shows(".note", "url: wanted an absolute http(s) URL")
        await page.click("summary")
        await page.click("#headers")
        await page.write("no header")
        await page.click(".ask button")
        await page.shows(".note", '"no header" is no header')


async def test_from_an_entry_over_the_preview_to_the_receipt(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway) as page:
        await go(page, "entries")
        await page.shows("tbody tr", "/list?page=1")
        await page.click("#match")
        await page.write("/users/*")
        await page.press("Enter")
        await page.until("document.querySelectorAll('tbody tr').length === 2")
        await page.click("tbody tr td:last-child a:last-child")
        await page.until("document.querySelector('#value')?.value === 'http://site.example/users/0'")
        assert await page.evaluate("document.querySelector('#kind').value") == "url"
        await page.click(".ask button")
        await page.shows(".found", "1 entry in memory would go")
        assert "http://site.example/users/0" in await page.text(".sample")
        assert (await gateway.get("/users/0")).verdict == "HIT"  # nothing is purged yet
        await page.shows(".danger", "Purge 1 entry")
        await page.click(".danger")
        await page.shows(".receipt", "applied everywhere")
        await page.shows(".receipt tbody tr", "applied")
        await go(page, "entries=%2Fusers%2F0")
        await page.shows(".empty", "Nothing that fits")
        assert (await gateway.get("/users/0")).verdict == "MISS"


async def test_what_was_previewed_is_what_is_purged(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway, "#purge=%2Fusers%2F0") as page:
        await page.click(".ask button")
        await page.shows(".danger", "Purge 1 entry")
        await page.click("#value")
        await page.write("1")
        await page.until("!document.querySelector('.danger')")
        await page.click("#soft")
        await page.evaluate("document.querySelector('#kind').value = 'rule'")
        await page.evaluate("document.querySelector('#kind').dispatchEvent(new Event('change'))")
        await page.evaluate("document.querySelector('#value').value = 'users'")
        await page.click(".ask button")
        await page.click(".danger")
        await page.shows(".receipt", "2 entries in memory became stale")
        assert (await gateway.get("/users/1")).verdict != "HIT"


# -- when things go wrong ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_without_redis_it_says_fallback_and_lives_on(chromium: Browser) -> None:
    async with redis_server() as redis, Origin() as origin:
        origin.answer("/users/0", body=b"x")
        settings = {**RULES, "redis": {"enabled": True, "url": redis.url}}
        async with serving(origin, settings) as gateway:
            await gateway.connected()
            async with shown(chromium, gateway) as page:
                await page.shows(".badges", "Redis shared")
                await page.shows("h2", "in the last hour, on all instances")
                await redis.kill()
                await page.shows(".badges", "Redis fallback")
                await gateway.get("/users/0")
                await page.shows(".tile", "1 since the start")
                await go(page, "purge=users&kind=rule")
                await page.click(".ask button")
                await page.click(".danger")
                await page.shows(".receipt", "on its way")
                await page.shows(".receipt", "Instances that cannot be reached now have not applied it")
                await redis.start()
                await page.shows(".receipt", "applied everywhere")
                await go(page, "overview")
                await page.shows(".badges", "Redis shared")
                await go(page, "events")
                await page.shows(".events li", "redis is")


@pytest.mark.slow
async def test_draining_and_gone_and_live_again(chromium: Browser) -> None:
    port = ReservedPort()
    async with Origin() as origin, chromium.page() as page:
        origin.answer("/users/0", body=b"x")
        async with serving(
            origin, RULES, "--port", str(port.number), env={"CACHEGATE__LISTEN__DRAIN_DELAY": "6"}
        ) as gateway:
            await page.open(f"{gateway.url}/cache/dashboard#events")
            await page.shows("#link", "Live")
            await unlock(page, TOKEN)
            await page.shows("#unlock", "Lock")
            stopping = asyncio.create_task(gateway.stop())
            await page.shows("#link", "Draining")
            assert await stopping == 0
        await page.shows("#trouble", "Disconnected since")
        await page.shows(".note", "Not connected since")
        assert await page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"
        async with serving(origin, RULES, "--port", str(port.number)) as gateway:
            await page.shows("#link", "Live")
            await page.until("!document.querySelector('#trouble').checkVisibility()")
            await page.until("document.querySelector('.note').innerText === ''")
            await gateway.admin("POST", "/purge", {"tag": "again"})
            await page.shows(".events li", "purge by tag again")
    port.release()


@pytest.mark.slow
async def test_another_token_after_a_restart_locks_it(chromium: Browser) -> None:
    port = ReservedPort()
    async with Origin() as origin, chromium.page() as page:
        flags = ("--port", str(port.number))
        async with serving(origin, RULES, *flags) as gateway:
            await page.open(f"{gateway.url}/cache/dashboard#purge")
            await page.shows("#link", "Live")
            await unlock(page, TOKEN)
            await page.shows("#unlock", "Lock")
        async with serving(origin, {**RULES, "admin": {"token": "another-token"}}, *flags, env={"ADMIN_TOKEN": ""}):
            await page.shows("#unlock", "Unlock")
            await page.shows(".locked", "token")
    port.release()


# -- where it stands ---------------------------------------------------------------------------------------------------


async def test_behind_a_proxy_that_knows_who_may_and_rewrites_paths(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            inner = f"{gateway.url}/cache/{request.match_info['page']}?{request.query_string}"
            first = request.match_info["page"] == "dashboard"
            if not first and request.cookies.get("session") != "operator":
                return web.Response(status=401)
            said = {name: request.headers[name] for name in ("Host", "Origin") if name in request.headers}
            fields = {**said, "Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.1"}
            async with session.request(request.method, inner, headers=fields, data=await request.read()) as answer:
                reply = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
                if first:
                    reply.set_cookie("session", "operator", httponly=True)
                await reply.prepare(request)
                async for chunk in answer.content.iter_any():
                    await reply.write(chunk)
            return reply

        app = web.Application()
        app.router.add_route("*", "/deep/inside/{page:.*}", forward)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with chromium.page() as page:
            await page.open(f"http://{host}:{port}/deep/inside/dashboard#entries")
            await page.shows("tbody tr", "/users/0")
            await page.shows("#link", "Live")
            await go(page, "explain=http%3A%2F%2Fsite.example%2Fusers%2F0")
            await page.shows(".verdict", "HIT")  # asked by POST, with an Origin
            assert page.complaints == []
            assert [url for url in page.requests if "/deep/inside/" not in url] == []
        await runner.cleanup()


async def test_a_bookmark_with_a_name_and_a_password_works(chromium: Browser) -> None:
    """No URL that is made of it may be asked for, says the Fetch Standard."""
    async with Origin() as origin, busy(origin) as gateway, chromium.page() as page:
        await page.open(f"http://somebody:secret@127.0.0.1:{gateway.port}/cache/dashboard")
        await page.shows("#link", "Live")
        await page.shows("tbody td", "nothing is stored under the key of this request")
        assert page.complaints == []


async def test_on_the_admin_port_and_under_another_prefix(chromium: Browser) -> None:
    port = ReservedPort()
    settings = {**RULES, "admin": {"port": port.number, "prefix": "/ops"}}
    async with Origin() as origin, chromium.page() as page:
        origin.answer("/cache/ready", body=b"the site's")
        async with serving(origin, settings):
            await page.open(f"http://127.0.0.1:{port.number}/ops/dashboard")
            await page.shows("#link", "Live")
        assert [url for url in page.requests if "/ops/" not in url] == []
    port.release()


# -- for everybody -----------------------------------------------------------------------------------------------------

# What a reader needs and a script can find: names, contrast of each text with what lies behind it, one heading.
AUDIT = """(() => {
  const lum = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const behind = (e) => { const all = [];
    for (; e; e = e.parentElement) all.push(rgba(getComputedStyle(e).backgroundColor));
    return all.reverse().reduce((under, each) => over(each, under), [255, 255, 255]); };
  const wrong = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest('.unseen, :disabled, .skip')) continue;
    const back = behind(e), front = over(rgba(getComputedStyle(e).color), back);
    const [low, high] = [lum(back), lum(front)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) wrong.push(`${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  const seen = (selector) => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility());
  if (seen('h1').length !== 1) wrong.push(`${seen('h1').length} h1`);
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  for (const table of seen('table')) {
    if (!table.caption && !table.closest('[aria-label]')) wrong.push('a table without a name');
    if ([...table.querySelectorAll('thead th')].some(e => e.scope !== 'col')) wrong.push('a head without scope');
  }
  return wrong;
})()"""
NAMED = {"button", "link", "textbox", "checkbox", "combobox", "image", "img", "table", "region", "dialog", "navigation"}


async def unnamed(page: Page) -> list[str]:
    """Roles of what the browser's own accessibility tree has no name for."""
    nodes = (await page.command("Accessibility.getFullAXTree"))["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    assert {"banner", "main", "contentinfo", "navigation"} <= {role for role, _ in told}
    return [role for role, name in told if role in NAMED and not name]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_has_a_name_and_is_told_apart_from_what_lies_behind(chromium: Browser, dark: bool) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway) as page:
        await page.view(1280, 900, dark=dark)
        back = "parseInt(getComputedStyle(document.body).backgroundColor.slice(4))"
        await page.until(f"({back} < 128) === {str(dark).lower()}")
        for view in [*VIEWS, "explain=http%3A%2F%2Fsite.example%2Flist%3Fpage=9", "purge=users&kind=rule"]:
            await go(page, view)
            if view.startswith("purge=u"):
                await page.click(".ask button")
                await page.shows(".danger", "Purge")
            if view.startswith("explain=h"):
                await page.shows(".steps", "Which rule")
            assert await page.evaluate(AUDIT) == [], view
            assert await unnamed(page) == [], view


@pytest.mark.parametrize("width", [360, 768])
async def test_a_narrow_window_has_no_way_to_the_side(chromium: Browser, width: int) -> None:
    async with Origin() as origin, busy(origin) as gateway, shown(chromium, gateway) as page:
        await page.view(width, 740)
        for view in [*VIEWS, "explain=http%3A%2F%2Fsite.example%2Flist%3Fpage=9" + "x" * 200]:
            await go(page, view)
            await page.shows("h1", "")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, view


async def focused(page: Page) -> str:
    """What has the focus, in a few words; it is to be seen that it has."""
    told = "[document.activeElement, getComputedStyle(document.activeElement)]"
    text, outline = await page.evaluate(f"(([e, s]) => [e.innerText || e.id, s.outlineStyle])({told})")
    assert outline != "none", text
    return str(text)


async def test_all_of_it_goes_by_keyboard(chromium: Browser) -> None:
    async with Origin() as origin, busy(origin) as gateway, chromium.page() as page:
        await page.view(1280, 900)
        await page.open(f"{gateway.url}/cache/dashboard")
        await page.shows("#link", "Live")
        seen = []
        for _ in range(8):
            await page.press("Tab")
            seen.append(await focused(page))
        assert seen == [
            "Skip to the content",
            "Cachegate",
            "Overview",
            "Entries",
            "Explain",
            "Purge",
            "Events",
            "Unlock",
        ]
        await page.press("Enter")
        await page.until("document.activeElement.id === 'token-value'")
        await page.press("Escape")
        await page.until("document.activeElement.id === 'unlock'")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'token-value'")
        await page.write(TOKEN)
        await page.press("Enter")
        await page.shows("#unlock", "Lock")
        for name in ("Live", "1 h", "24 h"):
            await page.press("Tab")
            assert await focused(page) == name
        await page.press(" ")
        await page.shows("h2", "in the last day")
        for step in count():
            assert step < 60
            await page.press("Tab")
            if await focused(page) == "no-store":
                break
        await page.press("Enter")
        await page.shows("main", "The origin forbids to store it.")
        await page.press("Tab")
        assert (await focused(page)).startswith("RFC 9111")  # the focus went along with the view
        assert page.complaints == []


# -- strangers ---------------------------------------------------------------------------------------------------------

EVIL = "<img src=x onerror=window.hacked=1>"
TURNED = "\u202egnp.exe"


async def test_what_strangers_wrote_is_text(chromium: Browser) -> None:
    rules = [{"name": EVIL, "pattern": "/x/**", "ttl": 60, "tags": [EVIL]}]
    async with Origin() as origin, running(origin, {"rules": rules}) as gateway:
        for target in (
            "/x/%3Cimg%20src=x%20onerror=window.hacked=1%3E?q='\"><script>hacked=1</script>",
            "/x/%E2%80%AE",
        ):
            origin.answer(target.partition("?")[0], body=b"x")
            assert (await gateway.get(target)).status == 200
        await gateway.settled()
        async with shown(chromium, gateway) as page:
            await page.shows("tbody th", EVIL)
            while not gateway.gateway.events.here:
                await asyncio.sleep(0.01)
            await gateway.purge(tag=f"{EVIL}{TURNED}", soft=True)
            views = (
                "events",
                "entries",
                "reason=%3Cimg%20src=x%3E",
                "explain=/x/%3Cimg%20src=x%3E%E2%80%AE",
                "entries=%3Cscript%3E",
            )
            for view in (*views, f"purge={EVIL}&kind=tag".replace("=x", "%3Dx").replace("=w", "%3Dw")):
                await go(page, view)
                if view == "events":
                    await page.shows(".events li", "\\u{202e}gnp.exe")
                if view == "entries":
                    await page.shows("tbody tr td:nth-child(8)", EVIL)
                if view.startswith("purge"):
                    await page.click(".ask button")
                    await page.shows(".found", "Preview")
                assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
            turned = "document.body.innerText.includes('\\u202e')"
            assert await page.evaluate(f"[typeof window.hacked, {turned}]") == ["undefined", False]


async def test_text_cannot_become_markup_whoever_writes_the_page(chromium: Browser) -> None:
    """Should one of us ever forget: the policy refuses it, and no frame or form of others gets at the page."""
    async with Origin() as origin, busy(origin) as gateway, chromium.page() as page:
        await page.open(f"{gateway.url}/cache/dashboard")
        await page.shows("#link", "Live")
        tried = ["document.body.innerHTML = '<b>x</b>'", "eval('1')", "document.body.setAttribute('onclick', 'x')"]
        refused = [f"(() => {{ try {{ {each}; return false }} catch {{ return true }} }})()" for each in tried]
        assert await page.evaluate(f"[{', '.join(refused)}]") == [True, True, True]

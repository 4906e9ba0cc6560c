"""The console in a real browser: a new user goes through "Add a domain name" from the sign-in to a stream that plays.

Screenshots of each step are left in test-artifacts/console.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from support.browser import Browser, Chromium
from support.encoders import ffmpeg_push
from support.name_server import NameServer
from support.server import Server, running
from support.wait import until

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts" / "console"
DESKTOP, PHONE = (1280, 860), (390, 844)
PASSWORD = "a river in the hills"
PUSH, PLAY = "push.example.com", "play.example.com"


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with NameServer() as names:
        yield names


@pytest.fixture(scope="module")
def platform(names: NameServer) -> Iterator[Server]:
    """A server whose checks ask our DNS, which stands for all of the world's."""
    settings = {
        "domains.ownership.resolvers": f"{names.address}:{names.port}",
        "domains.ownership.private_addresses": "true",
        "domains.ownership.dns_port": str(names.port),
        "domains.quota": "20",
    }
    with running(settings) as server:
        yield server


@pytest.fixture(scope="module")
def browser(chromium: Chromium) -> Iterator[Browser]:
    """One person for all steps."""
    with chromium.visitor() as browser:
        expect.set_options(timeout=15_000)
        yield browser


class Walk:
    """One person at one browser, who takes a picture of every step."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.page: Page = browser.page
        self.base = f"http://127.0.0.1:{server.ports['console']}"
        self._browser = browser
        self._pictures = 0
        ARTIFACTS.mkdir(parents=True, exist_ok=True)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def picture(self, name: str) -> None:
        """A screenshot of the whole page."""
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    def step(self, name: str) -> None:
        """A screenshot in the order of the walk."""
        self._pictures += 1
        self.picture(f"{self._pictures:02}-{name}")

    def sign_in(self, user: str, password: str) -> None:
        self.page.context.clear_cookies()
        self.open("/")
        self.page.get_by_label("User name").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(value)

    def check_width(self, name: str) -> None:
        """Nothing stands beside the window of a phone."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], f"{name} is wider than the phone"

    def check_console(self) -> None:
        """Nothing went wrong in the page: no script failed and nothing was kept from loading."""
        bad = [line for line in self._browser.console if line.startswith("pageerror") or "Content Security Policy" in line]
        assert not bad, bad


@pytest.fixture(scope="module")
def walk(browser: Browser, platform: Server) -> Walk:
    return Walk(browser, platform)


def new_user(server: Server, name: str) -> str:
    """An account with a user; returns the password that is shown once."""
    server.run("account", "create", f"{name}-account")
    made = json.loads(server.run("console", "user", "create", name, "--account", f"{name}-account", "--json"))
    return str(made["password"])


def test_a_new_user_adds_two_domains_and_plays_a_stream(walk: Walk, platform: Server, names: NameServer) -> None:
    page = walk.page
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    given = new_user(platform, "ada")

    # Sign in to the console; the password was somebody else's choice
    walk.open("/")
    walk.step("sign-in")
    walk.sign_in("ada", given)
    expect(page.get_by_role("heading", name="Change the password")).to_be_visible()
    page.get_by_label("Current password").fill(given)
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password again").fill(PASSWORD)
    walk.step("password")
    page.get_by_role("button", name="Change the password").click()

    # In the left navigation choose Domains, which opens the Domain Management page; click Add Domain
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Domains").click()
    expect(page.get_by_role("heading", name="Domain Management")).to_be_visible()
    walk.step("domains-empty")
    page.get_by_role("link", name="Add Domain").click()

    # Set the parameters: each rule shows while the name is typed
    name = page.get_by_label("Domain Name")
    name.fill("*.example.com")
    expect(page.locator(".verdict.bad")).to_contain_text("no wildcard")
    walk.step("add-wildcard")
    name.fill(PUSH)
    expect(page.locator(".verdict.busy")).to_contain_text("prove that you own example.com")
    page.get_by_role("radio", name="Ingest Domain").check()
    walk.choose("Live Center", "eu-central-1")
    page.get_by_role("radio", name="Outside Mainland China").check()
    walk.step("add-ingest")
    page.get_by_role("button", name="Submit").click()

    # The first time, ownership must be verified: the page says what it found instead
    expect(page.get_by_role("heading", name="Prove that you own example.com")).to_be_visible()
    walk.step("proof")
    content = page.locator("[data-copy^=verify_]").get_attribute("data-copy")
    assert content is not None
    page.get_by_role("button", name="Verify").click()
    expect(page.locator(".findings")).to_contain_text("There is no TXT record verification.example.com.")
    walk.step("proof-missing")
    names.txt("verification.example.com", "verify_somebody_else")
    page.get_by_role("button", name="Verify").click()
    expect(page.locator(".findings")).to_contain_text("verify_somebody_else")
    page.get_by_role("link", name="By a file on the web server").click()
    expect(page.get_by_text("http://example.com/verification.html")).to_be_visible()
    walk.step("proof-by-file")
    page.get_by_role("link", name="By a DNS record").click()
    names.txt("verification.example.com", content)
    page.get_by_role("button", name="Verify").click()

    # Then the CNAME record
    expect(page.get_by_role("heading", name=f"Point {PUSH} at the platform")).to_be_visible()
    state = page.locator(".cname-state")
    expect(state).to_contain_text("Not found yet.")
    walk.step("cname")
    names.records[PUSH, "CNAME"] = ["elsewhere.example.net."]
    expect(state).to_contain_text("It points to elsewhere.example.net.", timeout=30_000)
    names.records[PUSH, "CNAME"] = [f"{PUSH}.w.headwater.internal."]
    expect(state).to_contain_text("Configured", timeout=30_000)
    walk.step("cname-configured")

    # The streaming domain: the same live center, and no second proof
    page.get_by_role("link", name="Add a streaming domain").click()
    page.get_by_label("Domain Name").fill(PLAY)
    expect(page.locator(".verdict.good")).to_contain_text(f"{PLAY} can be added.")
    assert page.get_by_label("Live Center").input_value() == "eu-central-1"
    walk.step("add-streaming")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name=f"Point {PLAY} at the platform")).to_be_visible()

    walk.open("/domains")
    expect(page.get_by_role("row", name=PUSH)).to_contain_text("Configured")
    expect(page.get_by_role("row", name=PLAY)).to_contain_text("Not found")
    walk.step("domains")

    # A name cannot be added twice, and the page knows whose it is
    walk.open("/domains/add")
    page.get_by_label("Domain Name").fill(PLAY)
    expect(page.locator(".verdict.bad")).to_contain_text("You have added it already.")
    walk.step("add-duplicate")

    # Bind the one to the other
    walk.open(f"/domains/{PUSH}/binding")
    page.get_by_label("Streaming domain").select_option(PLAY)
    page.get_by_role("button", name="Bind").click()
    expect(page.locator(".notice.good")).to_contain_text(f"{PUSH} is now bound to {PLAY}")
    walk.step("bound")
    walk.open(f"/domains/{PLAY}")
    walk.step("domain")

    # The URLs, and a stream that plays
    walk.open(f"/domains/{PLAY}/urls")
    page.get_by_label("StreamName").fill("cam")
    expect(page.locator("#made")).to_contain_text("/live/cam")
    page.get_by_text("QR code").first.click()
    expect(page.locator("svg.qr")).to_be_visible()
    walk.step("urls")
    push_url = page.locator("[data-copy^='rtmp:'][data-copy*='/live/cam']").first.get_attribute("data-copy")
    assert push_url is not None
    assert "auth_key=" in push_url
    with ffmpeg_push(push_url):
        platform.wait_log("publish started", timeout_s=20)
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Watch").first.click()
        player = opened.value
        until(lambda: player.evaluate("document.getElementById('video')?.currentTime > 1"), "the stream plays", 30)
        player.screenshot(path=ARTIFACTS / "90-player.png")
        player.close()
    walk.open("/audit")
    page.locator(".log summary").first.click()
    walk.step("audit")
    walk.check_console()


def test_the_operator_answers_a_ticket(walk: Walk, platform: Server) -> None:
    page = walk.page
    given = new_user(platform, "eve")
    walk.sign_in("eve", given)
    for label, value in (("Current password", given), ("New password again", PASSWORD)):
        page.get_by_label(label).fill(value)
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()

    walk.open("/domains/add")
    page.get_by_label("Domain Name").fill("shop.example.com")
    expect(page.locator(".verdict.bad")).to_contain_text("Another account has proved to own this name.")
    walk.open("/tickets/new?kind=verification&domain=shop.example.org")
    page.get_by_label("Reason").fill("Our DNS provider has no TXT records.\nThe registrar's invoice is with you.")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Open", exact=True)).to_be_visible()
    number = page.url.rsplit("/", 1)[1]

    operator = json.loads(platform.run("console", "user", "create", "head", "--json"))
    walk.sign_in("head", operator["password"])
    for label, value in (("Current password", operator["password"]), ("New password again", PASSWORD)):
        page.get_by_label(label).fill(value)
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    walk.open(f"/tickets/{number}")
    page.get_by_label("Message").fill("We have seen the invoice.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved", exact=True)).to_be_visible()
    walk.picture("80-ticket")

    walk.sign_in("eve", PASSWORD)
    walk.open("/domains/add")
    page.get_by_label("Domain Name").fill("shop.example.org")
    expect(page.locator(".verdict.good")).to_contain_text("shop.example.org can be added.")
    walk.check_console()


def test_every_page_is_readable_on_a_phone_in_the_dark_and_in_chinese(walk: Walk, platform: Server) -> None:
    page = walk.page
    walk.sign_in("head", PASSWORD)
    pages = {
        "domains": "/domains",
        "add": "/domains/add",
        "domain": f"/domains/{PLAY}",
        "binding": f"/domains/{PLAY}/binding",
        "urls": f"/domains/{PLAY}/urls",
        "access": f"/domains/{PLAY}/access",
        "certificate": f"/domains/{PLAY}/certificate",
        "delay": f"/domains/{PLAY}/delay",
        "usage": f"/domains/{PLAY}/usage",
        "tickets": "/tickets",
        "filings": "/filings",
        "claims": "/claims",
        "accounts": "/accounts",
        "users": "/users",
        "nodes": "/nodes",
        "audit": "/audit",
    }
    desktop, phone = (ViewportSize(width=width, height=height) for width, height in (DESKTOP, PHONE))
    for name, path in pages.items():
        walk.open(path)
        walk.picture(f"light-{name}")
        page.set_viewport_size(phone)
        walk.check_width(f"{name} in English")
        page.set_viewport_size(desktop)
    page.get_by_role("button", name="中文").click()
    page.set_viewport_size(phone)
    page.emulate_media(color_scheme="dark")
    for name, path in pages.items():
        walk.open(path)
        walk.picture(f"phone-dark-chinese-{name}")
        walk.check_width(f"{name} in Chinese")
    page.get_by_role("button", name="菜单").click()
    expect(page.get_by_role("navigation", name="主导航")).to_be_visible()
    walk.picture("phone-dark-menu")
    page.emulate_media(color_scheme=None)
    page.set_viewport_size(desktop)
    page.get_by_role("button", name="English").click()
    walk.check_console()


def test_the_keyboard_is_enough(walk: Walk) -> None:
    page = walk.page
    walk.sign_in("ada", PASSWORD)
    walk.open("/domains")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label(f"Choose {PLAY}").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("1 chosen")).to_be_visible()
    page.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()  # the harmless choice comes first
    page.screenshot(path=ARTIFACTS / "81-confirm.png")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("1 domains were stopped.")
    expect(page.get_by_role("row", name=PLAY)).to_contain_text("Offline")
    walk.check_console()

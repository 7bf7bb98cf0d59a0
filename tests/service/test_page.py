"""The page in a browser: upload, progress, verdict, timeline, downloads, deletion, languages, widths, keyboard."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.browser import axe_source, grave, opened
from tests.service.drawn import drawn_clip, drawn_photo, text_file
from tests.service.test_serving import Served

pytest.importorskip("fastapi", reason="no fastapi")
pytest.importorskip("playwright.sync_api", reason="no playwright")
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.slow
expect.set_options(timeout=20_000)  # two cores may do much else
WORDS = {"real": "Real", "suspicious": "Suspicious", "fake": "Fake"}
LONG = 60_000  # milliseconds that a verdict may take


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The base URL of a service whose files are in ``folder``, without a key, with the bundled detector."""
    server = Served(folder, "bundled", f"sqlite:///{folder / 'service.db'}")
    try:
        server.ready()
        yield str(server.client.base_url)
    finally:
        server.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served")) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with opened() as found:
        yield found


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("media")
    return {
        "clip": drawn_clip(root / "clip.mp4"),
        "photo": drawn_photo(root / "photo.png"),
        "text": text_file(root / "notes.txt"),
    }


@pytest.fixture
def new_page(browser, base):
    """Opens the page in a browser that remembers nothing. It must log no error and ask no other server."""
    with contextlib.ExitStack() as stack:
        wrong: list[str] = []

        def make(**options) -> Page:
            context = browser.new_context(base_url=base, **({"locale": "en-GB"} | options))
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
            page.on("request", lambda one: None if one.url.startswith((base, "blob:")) else wrong.append(one.url))
            page.goto("/")
            expect(page.locator("#limits")).not_to_be_empty()
            return page

        yield make
        assert not wrong


@pytest.fixture(scope="module")
def job(browser, base, media) -> dict:
    """A job that judged the clip and the photo, with its rows."""
    context = browser.new_context(base_url=base, locale="en-GB")
    page = context.new_page()
    page.goto("/")
    submit(page, media["clip"], media["photo"])
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    found = page.request.get(f"/v1/jobs/{page.url.split('#')[1]}").json()
    context.close()
    return found


def submit(page: Page, *files: Path) -> None:
    page.set_input_files("#files", list(files))
    page.click("#send")


def judge_again(page: Page) -> None:
    """Chooses that files are judged although they were judged before."""
    page.click("#options summary")
    page.check("#again")


def test_a_clip_is_judged(new_page, media):
    page = new_page()
    page.set_input_files("#files", media["clip"])
    expect(page.locator("#chosen")).to_contain_text("clip.mp4")
    judge_again(page)
    page.click("#send")
    expect(page.locator("#waiting")).to_be_visible()
    expect(page.locator("#waiting-bar[value]")).to_be_visible(timeout=LONG)
    expect(page.locator("#waiting-words")).to_contain_text("% done")
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    row = page.request.get(f"/v1/jobs/{page.url.split('#')[1]}").json()["rows"][0]
    expect(page.locator("#verdict")).to_have_text(WORDS[row["verdict"]])
    expect(page.locator(".mark")).to_have_text(f"{row['score']:.3f}")
    assert f"{row['score']:.3f}" in page.locator(".scale").aria_snapshot()  # what a screen reader gets
    for level in (row["threshold"], row["suspicious"]):
        if level is not None:
            expect(page.locator(".ticks")).to_contain_text(f"{level:.3f}".rstrip("0"))
    model = page.request.get("/v1/models").json()["models"][0]
    expect(page.locator(".rests")).to_contain_text(model["trained_on"])
    expect(page.locator(".rests")).to_contain_text(model["misses"])
    expect(page.locator(".face-card")).to_have_count(len(row["tracks"]))


def test_a_photo_is_judged(new_page, media):
    page = new_page()
    submit(page, media["photo"])
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    picture = page.locator(".media img")
    expect(picture).to_be_visible()
    assert picture.evaluate("async (node) => { await node.decode(); return node.naturalWidth; }") > 0
    expect(page.locator("#timeline")).to_have_count(0)


def test_the_upload_shows_its_progress_and_can_be_cancelled(new_page, tmp_path):
    page = new_page()
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(20_000_000))
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000}
    network.send("Network.emulateNetworkConditions", slow)
    submit(page, large)
    expect(page.locator("#sending-words")).to_contain_text("of 20 MB")
    assert 0 < page.locator("#sending-bar").evaluate("(node) => node.value") < 1
    page.click("#sending-cancel")
    expect(page.locator("#form")).to_be_visible()
    expect(page.locator("#chosen")).to_contain_text("large.mp4")
    expect(page.locator("#alert")).to_be_empty()


def at(page: Page) -> float:
    return page.locator("#video").evaluate("(node) => node.currentTime")


def test_the_timeline_seeks_the_video(new_page, job):
    page = new_page()
    page.goto(f"/#{job['id']}")
    timeline, row = page.locator("#timeline"), job["rows"][0]
    expect(page.locator("#video")).to_have_js_property("readyState", 4)
    box = timeline.bounding_box()
    timeline.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert at(page) == pytest.approx(row["duration"] / 2, abs=0.05)
    timeline.press("Home")
    assert at(page) == 0
    timeline.press("ArrowRight")
    assert at(page) == pytest.approx(row["frames"][1][0], abs=0.01)
    timeline.press("End")
    assert at(page) == pytest.approx(row["duration"], abs=0.1)
    page.locator("#video").evaluate("(node) => { node.currentTime = 0.5; }")
    expect(timeline).to_have_attribute("aria-valuenow", re.compile(r"^0\.5"))
    expect(timeline).to_have_attribute("aria-valuetext", re.compile(r"^0:00\.5 · score 0\.\d\d · \w+"))


def test_the_timeline_follows_the_video(new_page, job):
    page = new_page()
    page.goto(f"/#{job['id']}")
    before = page.locator("#timeline").get_attribute("aria-valuenow")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#timeline")).not_to_have_attribute("aria-valuenow", before)


def test_the_heat_map_is_shown_and_hidden(new_page, job):
    page = new_page()
    page.goto(f"/#{job['id']}")
    button, heat = page.locator(".face-card button[aria-pressed]").first, page.locator(".face-card .heat").first
    expect(heat).to_be_hidden()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(heat).to_be_visible()
    assert heat.evaluate("async (node) => { await node.decode(); return node.naturalWidth; }") > 0
    button.click()
    expect(heat).to_be_hidden()


def test_the_files_of_a_job_are_shown_one_at_a_time(new_page, job):
    page = new_page()
    page.goto(f"/#{job['id']}")
    expect(page.locator(".file-name")).to_have_text("clip.mp4")
    page.locator(".switcher button").nth(1).click()
    expect(page.locator(".file-name")).to_have_text("photo.png")
    expect(page.locator(".switcher button").nth(1)).to_be_focused()


def test_downloads(new_page, job, tmp_path):
    page = new_page()
    page.goto(f"/#{job['id']}")
    saved = {}
    for words in ("Download copy", "Heat maps", "Report", "JSON"):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=words, exact=True).click()
        saved[words] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(saved[words])
    assert saved["Download copy"].read_bytes()[4:8] == b"ftyp"
    assert saved["Heat maps"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert b"<!doctype html>" in saved["Report"].read_bytes().lower()[:200]
    assert json.loads(saved["JSON"].read_text())["rows"] == job["rows"]


def test_a_job_is_deleted(new_page, media):
    page = new_page()
    submit(page, media["photo"])
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    name = page.url.split("#")[1]
    page.click("#delete")
    page.locator("#delete-dialog").get_by_role("button", name="Keep").click()
    assert page.request.get(f"/v1/jobs/{name}").status == 200
    page.click("#delete")
    page.click("#delete-yes")
    expect(page.locator("#start")).to_be_visible()
    assert page.request.get(f"/v1/jobs/{name}").status == 404
    expect(page.locator("#history li")).to_have_count(0)
    page.goto(f"/#{name}")
    expect(page.locator("#ended-title")).to_have_text("Not found")


def test_a_running_job_is_cancelled(new_page, media):
    page = new_page()
    judge_again(page)
    submit(page, *[media["clip"]] * 5)
    page.click("#waiting-cancel")
    expect(page.locator("#ended-title")).to_have_text("Cancelled", timeout=LONG)


def test_a_text_file_gets_no_verdict_and_the_reason(new_page, media):
    page = new_page()
    page.set_input_files("#files", media["text"])
    expect(page.locator("#chosen")).to_contain_text("does not look like a picture or a video")
    page.click("#send")
    expect(page.locator("#verdict")).to_have_text("Unable to evaluate", timeout=LONG)
    expect(page.locator("#main")).to_contain_text("no image or video")


def test_limits_are_checked_before_the_upload(new_page, media):
    page = new_page()
    most = page.request.get("/v1/limits").json()["files"]
    page.set_input_files("#files", [media["photo"]] * (most + 1))
    expect(page.locator("#send")).to_be_disabled()
    page.locator("#chosen button").last.click()
    expect(page.locator("#send")).to_be_enabled()


def test_a_drop_is_taken(new_page):
    page = new_page()
    page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "dropped.png", {type: "image/png"}));
            for (const name of ["dragenter", "dragover", "drop"]) {
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(name, {dataTransfer, bubbles: true, cancelable: true}));
            }
        }"""
    )
    expect(page.locator("#chosen")).to_contain_text("dropped.png")


def test_options_are_sent(new_page, media):
    page = new_page()
    page.click("#options summary")
    page.select_option("#faces", "largest")
    page.select_option("#sampling", "per_second")
    page.fill("#amount", "3")
    page.uncheck("#heat")
    page.check("#keep")
    submit(page, media["photo"])
    expect(page.locator("#job")).to_be_visible()
    options = page.request.get(f"/v1/jobs/{page.url.split('#')[1]}").json()["options"]
    assert options["faces"] == "largest"
    assert options["per_second"] == 3
    assert options["heat_map"] is False
    assert options["keep"] is True


def test_a_wrong_option_is_shown(new_page, media):
    page = new_page()
    page.set_input_files("#files", media["photo"])
    page.evaluate("document.getElementById('amount').value = '0'")
    page.click("#send")
    expect(page.locator("#options")).to_have_attribute("open", "")
    expect(page.locator("#amount")).to_be_focused()
    expect(page.locator("#form")).to_be_visible()


def test_history_of_this_browser(new_page, media):
    page = new_page()
    submit(page, media["photo"])
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    name = page.url.split("#")[1]
    page.goto("/")
    entry = page.locator("#history li")
    expect(entry).to_contain_text("photo.png")
    expect(entry).to_contain_text("done")
    stored = json.loads(page.evaluate("localStorage.getItem('fdetect.jobs')"))
    assert [set(one) for one in stored] == [{"id", "state", "time"}]
    page.locator("#history a").click()
    expect(page.locator("#verdict")).to_be_visible()
    assert page.url.endswith(f"#{name}")
    page.goto("/")
    page.click("#history-clear")
    expect(entry).to_have_count(0)
    assert page.evaluate("localStorage.getItem('fdetect.jobs')") is None
    assert page.request.get(f"/v1/jobs/{name}").status == 200


def test_feedback(new_page, job):
    page = new_page()
    page.goto(f"/#{job['id']}")
    page.click("#wrong")
    page.check("#really-real")
    page.fill("#wrong-comment", "I drew it <b>myself</b>")
    with page.expect_request("**/feedback") as sent:
        page.click("#wrong-send")
    assert sent.value.post_data_json == {"n": 0, "verdict": "real", "comment": "I drew it <b>myself</b>"}
    expect(page.locator("#thanks")).to_contain_text("Thank you")


def with_row(page: Page, job: dict, **changes) -> None:
    """Opens the job, whose first row is changed on its way to the page."""
    changed = json.loads(json.dumps(job))
    changed["rows"][0] |= changes
    page.route(f"**/v1/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    page.goto(f"/#{job['id']}")
    expect(page.locator("#verdict")).to_be_visible()


@pytest.mark.parametrize(
    ("verdict", "english", "japanese"),
    [
        ("real", "Real", "本物"),
        ("suspicious", "Suspicious", "疑わしい"),
        ("fake", "Fake", "偽物"),
        ("not_applicable", "Not applicable", "対象外"),
        ("unable_to_evaluate", "Unable to evaluate", "判定不能"),
    ],
)
def test_every_verdict_is_explained(new_page, job, verdict, english, japanese):
    page = new_page()
    none = {"score": None, "tracks": [], "frames": [], "evidence": [], "classes": {}, "annotated": None, "poster": None}
    with_row(page, job, verdict=verdict, **({} if verdict in WORDS else none))
    expect(page.locator("#verdict")).to_have_text(english)
    expect(page.locator(".means")).to_have_text(re.compile(r"\w.+\."))
    expect(page.locator(".scale")).to_have_count(1 if verdict in WORDS else 0)
    page.click("#language")
    expect(page.locator("#verdict")).to_have_text(japanese)
    expect(page).to_have_title(f"{japanese} · clip.mp4 · fdetect")


def test_what_the_server_says_is_never_markup(new_page, job):
    page = new_page()
    with_row(
        page, job, reason="<img src=x onerror=alert(1)>", note="<b id=bold>note</b>", classes={"<i>": 1, "b": 0, "c": 0}
    )
    expect(page.locator(".reason")).to_contain_text("<img src=x")
    assert page.locator("#result #bold, #result i").count() == 0


def test_japanese(new_page, job):
    page = new_page(locale="ja-JP")
    assert page.evaluate("document.documentElement.lang") == "ja"
    expect(page.locator("#start-title")).to_have_text("この顔は本物ですか？")
    page.goto(f"/#{job['id']}")
    expect(page.locator("#verdict")).to_be_visible()
    page.locator("#video").evaluate("(node) => { node.currentTime = 0.5; }")
    page.click("#language")
    expect(page.locator("#verdict")).to_have_text(WORDS[job["rows"][0]["verdict"]])
    assert at(page) == 0.5
    page.reload()
    assert page.evaluate("document.documentElement.lang") == "en"


def test_dark_and_light(new_page):
    page = new_page(color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 200 < 600 < sum(map(int, re.findall(r"\d+", light)[:3]))
    page.reload()
    assert page.evaluate(ground) == light


def test_a_phone_offers_its_camera_roll(new_page):
    expect(new_page().locator("#roll")).to_be_hidden()
    phone = new_page(viewport={"width": 360, "height": 760}, is_mobile=True, has_touch=True)
    expect(phone.locator("#roll")).to_be_visible()
    assert phone.locator("#roll-files").get_attribute("accept") == "image/*,video/*"


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_nothing_is_wider_than_the_window(new_page, job, media, width, locale):
    page = new_page(viewport={"width": width, "height": 760}, locale=locale)
    page.set_input_files("#files", [media["clip"], media["text"]])
    page.click("#options summary")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= width
    page.goto(f"/#{job['id']}")
    expect(page.locator("#verdict")).to_be_visible()
    assert page.evaluate(wide) <= width
    page.goto("/#jmissing")
    expect(page.locator("#ended-title")).to_be_visible()
    assert page.evaluate(wide) <= width


def tab_to(page: Page, selector: str, most: int = 40) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches({selector!r})"):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_keyboard_alone(new_page, media):
    page = new_page()
    page.on("filechooser", lambda chooser: chooser.set_files(media["clip"]))
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, "#choose")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_contain_text("clip.mp4")
    tab_to(page, "#send")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_focused(timeout=LONG)
    tab_to(page, "#timeline")
    page.keyboard.press("End")
    assert at(page) > 1
    tab_to(page, ".face-card button[aria-pressed]")
    page.keyboard.press("Space")
    expect(page.locator(".face-card .heat").first).to_be_visible()
    for _ in range(2):  # the dialog closes by Escape, which keeps the job, and gives the focus back
        page.locator("#delete").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#delete-dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#delete")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "#delete-yes")
    page.keyboard.press("Enter")
    expect(page.locator("#start-title")).to_be_focused()


PROBLEM = {"type": "about:blank", "title": "Refused", "detail": "The reason.", "status": 0, "code": ""}


def refuse(route: Route, status: int, code: str, after: str | None = None) -> None:
    headers = {"Retry-After": after} if after else {}
    body = json.dumps(PROBLEM | {"status": status, "code": code})
    route.fulfill(status=status, body=body, headers=headers, content_type="application/problem+json")


def test_a_busy_service_is_tried_again(new_page, media):
    page = new_page()
    seen = []

    def busy_once(route: Route) -> None:
        seen.append(route.request.headers["idempotency-key"])
        if len(seen) == 1:
            refuse(route, 503, "too_busy", "2")
        else:
            route.continue_()

    page.route("**/v1/jobs", busy_once)
    submit(page, media["photo"])
    expect(page.locator("#sending-words")).to_contain_text("Next try in 2 s")
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_a_broken_stream_of_events_is_opened_again(new_page, media):
    page = new_page()
    cut = []
    page.route("**/events", lambda route: route.continue_() if cut else (cut.append(1), route.abort()))
    judge_again(page)
    submit(page, media["photo"])
    expect(page.locator("#verdict")).to_be_visible(timeout=LONG)
    assert cut


def test_a_key_is_asked_for_and_sent(new_page, job):
    page = new_page()
    unsigned = []

    def wants_key(route: Route) -> None:
        headers = dict(route.request.headers)
        if headers.pop("authorization", None) == "Bearer fdk_right":
            route.continue_(headers=headers)  # the service itself has no keys
        else:
            unsigned.append(route.request.url)
            refuse(route, 401, "key_unknown" if "authorization" in route.request.headers else "key_wanted")

    page.route("**/v1/**", wants_key)
    page.goto(f"/#{job['id']}")
    page.reload()
    expect(page.locator("#key-problem")).to_contain_text("wants an API key")
    page.fill("#key", "fdk_wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_contain_text("does not know this key")
    page.fill("#key", "fdk_right")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_visible()
    unsigned.clear()
    expect(page.locator("#video")).to_have_js_property("readyState", 4)
    assert page.locator("#video").get_attribute("src").startswith("blob:")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="JSON", exact=True).click()
    assert waiting.value.url.startswith("blob:")
    assert json.loads(Path(waiting.value.path()).read_text())["rows"] == job["rows"]
    assert not unsigned
    assert page.evaluate("[sessionStorage.getItem('fdetect.key'), localStorage.getItem('fdetect.key')]") == [
        "fdk_right",
        None,
    ]


def test_a_broken_connection_is_told_and_tried_again(new_page, job):
    page = new_page()
    page.route("**/v1/limits", lambda route: route.abort())
    page.reload()
    expect(page.locator("#alert")).to_contain_text("cannot be reached")
    page.unroute("**/v1/limits")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#limits")).not_to_be_empty()
    expect(page.locator("#alert")).to_be_empty()


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_axe_finds_nothing_grave(new_page, job, media, axe, scheme, locale):
    page = new_page(color_scheme=scheme, locale=locale)
    page.click("#options summary")
    assert not grave(page, axe)
    page.route("**/v1/jobs", lambda route: refuse(route, 422, "invalid"), times=1)
    submit(page, media["text"])
    expect(page.locator("#alert p")).to_be_visible(timeout=LONG)
    assert not grave(page, axe)
    page.goto(f"/#{job['id']}")
    expect(page.locator("#verdict")).to_be_visible()
    assert not grave(page, axe)
    page.click("#wrong")
    assert not grave(page, axe)
    page.goto("/#jmissing")
    expect(page.locator("#ended-title")).to_be_visible()
    assert not grave(page, axe)

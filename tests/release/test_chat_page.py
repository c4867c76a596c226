"""The page in a real browser, before an engine that says what a test wants."""

import contextlib
import json

import pytest

from release.serving.engine import Done, Failure, FullError, Piece, TooLongError
from tests.release.test_chat import serving, until
from tests.support import browser

pytestmark = [browser.needed, pytest.mark.xdist_group("browser")]
HOSTILE = (
    "<script>window.ran = 1</script> <img src=x onerror='window.ran = 2'> "
    "[link](javascript:window.ran=3) <a href='javascript:window.ran=4'>link</a> "
    "<svg onload='window.ran = 5'> $\\text{<img src=x onerror=window.ran=6>}$ "
    "$\\href{javascript:window.ran=7}{x}$ "
    "<iframe srcdoc='<script>parent.ran = 8</script>'></iframe>"
)
FINE = Done("stop", 12, 0.5)


class Stub:
    """An engine that says ``pieces`` and then ``end``, if there is one.

    More can be said to whoever asked a question by its ``listeners``.
    """

    context = 100
    closed = False
    full = False

    def __init__(self) -> None:
        self.asked: list = []
        self.listeners: dict = {}
        self.cancelled = 0
        self.place: int | None = None
        self.error: Exception | None = None
        self.says()

    def says(self, *pieces: str, end: Done | Failure | None = FINE) -> None:
        self.events = [*map(Piece, pieces), *([end] if end else [])]

    def encode(self, messages):
        self.asked.append(messages)
        return [len(self.asked) - 1]

    def submit(self, request, listen):
        if self.error:
            raise self.error
        for event in self.events:
            listen(event)
        self.listeners[self.asked[request.ids[0]][-1]["content"]] = listen
        return object()

    def before(self, job):
        return self.place

    def cancel(self, job) -> None:
        self.cancelled += 1

    def state(self):
        return {"active": 0, "waiting": 0, "generated": 0}


@pytest.fixture(scope="module")
def stub():
    return Stub()


@pytest.fixture(scope="module")
def window(stub, tmp_path_factory):
    """A browser's driver and the page's address."""
    with serving(stub) as client, browser.opened(tmp_path_factory.mktemp("profile")) as driver:
        url = str(client.base_url)
        yield driver, url


@pytest.fixture
def page(window, stub):
    """The driver at a page without a history."""
    driver, url = window
    driver.get(url)
    driver.execute_script("arguments[0].click()", at(driver, "clear"))
    stub.__init__()
    browser.complaints(driver)
    yield driver
    browser.resize(driver, browser.DESKTOP)


def at(driver, name: str):
    from selenium.webdriver.common.by import By

    return driver.find_element(By.ID, name)


def all_of(driver, selector: str) -> list:
    from selenium.webdriver.common.by import By

    return driver.find_elements(By.CSS_SELECTOR, selector)


def press(driver, *keys: str) -> None:
    driver.switch_to.active_element.send_keys(*keys)


def finished(driver, answers: int) -> str:
    """The text of the conversation, when its last answer has ended."""
    until(lambda: len(all_of(driver, ".facts")) == answers and at(driver, "send").is_displayed())
    until(lambda: not all_of(driver, ".question.plain"))
    return at(driver, "talk").text


def ask(driver, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    at(driver, "question").send_keys(text, Keys.ENTER)


def say(stub, asked: str, event) -> None:
    """Have an answer go on, whose question may be on its way."""
    until(lambda: asked in stub.listeners)
    stub.listeners[asked](event)


def written(driver) -> str:
    return at(driver, "question").get_attribute("value")


@contextlib.contextmanager
def starting_with(driver, script: str):
    """Every page that is opened runs a script first."""
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def press_button(driver, name: str) -> None:
    next(b for b in all_of(driver, ".facts button") if b.text == name).click()


def test_a_question_is_asked_and_its_answer_typeset(page, stub) -> None:
    from selenium.webdriver.common.keys import Keys

    stub.says("First $\\frac{1}{2}$", " of 8 is 4.\n", "#### 4")
    assert page.switch_to.active_element == at(page, "question")
    until(lambda: "tiny, context 100 tokens" in at(page, "model").text)
    press(page, "What is", Keys.SHIFT + Keys.ENTER + Keys.NULL, "half of $8$?", Keys.ENTER)
    text = finished(page, 1)
    assert stub.asked == [[{"role": "user", "content": "What is\nhalf of $8$?"}]]
    assert len(all_of(page, ".answer math mfrac")) == 1
    assert len(all_of(page, ".question math")) == 1
    assert "of 8 is 4." in text
    assert "12 tokens, 24 tokens/s" in text
    assert written(page) == ""
    origin = page.execute_script("return origin")
    granted = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    page.execute_cdp_cmd("Browser.grantPermissions", {"origin": origin, "permissions": granted})
    press_button(page, "Copy")
    until(lambda: "Copied" in at(page, "talk").text)
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == "First $\\frac{1}{2}$ of 8 is 4.\n#### 4"
    until(lambda: "Copied" not in at(page, "talk").text)
    loaded = page.execute_script("return performance.getEntries().map((e) => e.name)")
    others = [name for name in loaded if "://" in name and not name.startswith(page.current_url)]
    assert others == []
    assert browser.complaints(page) == []


def test_an_answer_is_seen_to_grow(page, stub) -> None:
    stub.says("First $x^2$", end=None)
    ask(page, "2 + 2?")
    until(lambda: all_of(page, ".answer.live math msup"))
    (answer,) = all_of(page, ".answer")
    assert "then" not in answer.text
    say(stub, "2 + 2?", Piece(" then $\\frac{1}{2}$"))
    until(lambda: all_of(page, ".answer.live math mfrac"))
    assert len(all_of(page, ".answer math")) == 2
    assert not all_of(page, ".facts")
    say(stub, "2 + 2?", FINE)
    assert "12 tokens" in finished(page, 1)
    assert not all_of(page, ".live")
    assert browser.complaints(page) == []


def test_two_tabs_that_ask_at_once_get_each_its_own_answer(page, stub) -> None:
    stub.says(end=None)
    first, url = page.current_window_handle, page.current_url
    ask(page, "Ann?")
    page.switch_to.new_window("tab")
    second = page.current_window_handle
    try:
        page.get(url)
        ask(page, "Ben?")
        for asked, text in (("Ann?", "4"), ("Ben?", "7"), ("Ann?", " figs"), ("Ben?", " nuts")):
            say(stub, asked, Piece(text))
        for asked in ("Ben?", "Ann?"):
            say(stub, asked, FINE)
        for window, asked, answer in ((first, "Ann?", "4 figs"), (second, "Ben?", "7 nuts")):
            page.switch_to.window(window)
            finished(page, 1)
            assert [element.text for element in all_of(page, ".question")] == [asked]
            assert [element.text for element in all_of(page, ".answer")] == [answer]
    finally:
        page.switch_to.window(second)
        page.close()
        page.switch_to.window(first)


@pytest.mark.parametrize("way", ["keyboard", "mouse"])
def test_the_focus_is_never_lost(page, stub, way) -> None:
    from selenium.webdriver.common.keys import Keys

    stub.says("So far", end=None)
    press(page, "2 + 2?")
    if way == "keyboard":
        press(page, Keys.TAB)
        assert page.switch_to.active_element == at(page, "send")
        press(page, Keys.ENTER)
    else:
        at(page, "send").click()
    until(lambda: "So far" in at(page, "talk").text)
    assert page.switch_to.active_element == at(page, "stop")
    say(stub, "2 + 2?", FINE)
    finished(page, 1)
    assert page.switch_to.active_element == at(page, "question")


def test_an_answer_is_copied_over_plain_http_too(page, stub) -> None:
    from selenium.webdriver.common.keys import Keys

    stub.says("Half is $\\frac{1}{2}$.\n#### 4")
    ask(page, "2 + 2?")
    finished(page, 1)
    page.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    press_button(page, "Copy")
    until(lambda: "Copied" in at(page, "talk").text)
    assert page.switch_to.active_element.text == "Copied"
    at(page, "question").send_keys(Keys.CONTROL, "v")
    assert written(page) == "Half is $\\frac{1}{2}$.\n#### 4"


def test_the_settings_are_sent_and_kept(page, stub) -> None:
    stub.says("4")
    at(page, "toggle").click()
    assert at(page, "toggle").get_attribute("aria-expanded") == "true"
    at(page, "system").send_keys("Be brief.")
    at(page, "max-tokens").send_keys("7")
    at(page, "follow").click()
    ask(page, "2 + 2?")
    finished(page, 1)
    ask(page, "And twice?")
    finished(page, 2)
    roles = [message["role"] for message in stub.asked[1]]
    assert roles == ["system", "user", "assistant", "user"]
    assert stub.asked[1][0]["content"] == "Be brief."
    for name, value, good in (("temperature", "5", "1"), ("max-tokens", "1e21", "7")):
        at(page, name).clear()
        at(page, name).send_keys(value)
        ask(page, "Too much?")
        assert len(stub.asked) == 2
        assert page.switch_to.active_element == at(page, name)
        assert written(page) == "Too much?"
        at(page, "question").clear()
        at(page, name).clear()
        at(page, name).send_keys(good)
    page.refresh()
    assert at(page, "system").get_attribute("value") == "Be brief."
    # For the tests that follow.
    page.execute_script("settings.reset(); settings.dispatchEvent(new Event('change'))")


def test_nothing_that_is_said_runs(page, stub) -> None:
    def looked_at() -> None:
        text = at(page, "talk").text
        assert text.count("<script>window.ran = 1</script>") == 2
        assert text.count("<img src=x onerror='window.ran = 2'>") == 2
        assert not all_of(page, "#talk :is(script, img, a, svg, iframe, [onerror], [href])")
        assert page.execute_script("return window.ran ?? null") is None

    stub.says(*HOSTILE)
    at(page, "toggle").click()
    at(page, "system").send_keys(HOSTILE)
    ask(page, HOSTILE)
    finished(page, 1)
    looked_at()
    assert [message["content"] for message in stub.asked[0]] == [HOSTILE, HOSTILE]
    page.refresh()
    finished(page, 1)
    until(lambda: not all_of(page, ".answer.plain"))
    looked_at()
    assert at(page, "system").get_attribute("value") == HOSTILE
    assert browser.complaints(page) == []
    stub.says(end=Failure(HOSTILE))
    ask(page, "Is an error inert?")
    finished(page, 2)
    looked_at_error = all_of(page, ".wrong")[0].text
    assert HOSTILE in looked_at_error
    assert page.execute_script("return window.ran ?? null") is None
    page.execute_script("settings.reset(); settings.dispatchEvent(new Event('change'))")


def test_the_browser_takes_html_from_the_server_only(page) -> None:
    from selenium.common.exceptions import JavascriptException

    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.execute_script("document.body.innerHTML = '<b>x</b>'")


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_ends_the_generation(page, stub, way) -> None:
    from selenium.webdriver.common.keys import Keys

    stub.says("So far", end=None)
    ask(page, "2 + 2?")
    until(lambda: "So far" in at(page, "talk").text)
    assert not at(page, "send").is_displayed()
    assert at(page, "talk").get_attribute("aria-busy") == "true"
    assert stub.cancelled == 0
    if way == "button":
        at(page, "stop").click()
    else:
        press(page, Keys.ESCAPE)
    text = finished(page, 1)
    until(lambda: stub.cancelled > 0)
    assert "So far" in text
    assert "stopped" in text
    assert at(page, "talk").get_attribute("aria-busy") == "false"
    assert page.switch_to.active_element == at(page, "question")
    assert browser.complaints(page) == []


def test_a_place_in_the_queue_is_shown(page, stub) -> None:
    stub.says(end=None)
    stub.place = 2
    ask(page, "2 + 2?")
    until(lambda: "Waiting in the queue, 2 before you" in at(page, "talk").text)
    at(page, "clear").click()
    until(lambda: stub.cancelled > 0)


def test_errors_are_reported_and_can_be_tried_again(page, stub) -> None:
    from selenium.webdriver.common.keys import Keys

    told = {
        "has 900 tokens; the context has room for 100": TooLongError(
            "has 900 tokens; the context has room for 100"
        ),
        "too many requests are waiting; try again soon": FullError(),
    }
    press(page, "2 + 2?")
    for count, (message, stub.error) in enumerate(told.items(), 1):
        press(page, Keys.ENTER)
        assert f"No answer: {message}." in finished(page, count)
        assert written(page) == "2 + 2?", "it can be edited"
    stub.error = None
    stub.says("Half of", end=Failure("out of memory"))
    press_button(page, "Try again")
    until(lambda: "out of memory" in at(page, "talk").text)
    text = finished(page, 2)
    assert "Half of" in text
    assert "The answer broke off: out of memory." in text
    assert written(page) == ""
    stub.says("4")
    page.execute_script("temperature.value = 5")
    all_of(page, ".facts button")[-1].click()
    assert page.switch_to.active_element == at(page, "temperature")
    assert "out of memory" in at(page, "talk").text, "it is not asked, and not gone"
    page.execute_script("settings.reset()")
    all_of(page, ".facts button")[-1].click()
    until(lambda: "out of memory" not in at(page, "talk").text)
    assert "4" in finished(page, 2)
    stub.says(end=None)
    ask(page, "3 + 3?")
    press(page, "And 5?")
    say(stub, "3 + 3?", Failure("out of memory"))
    finished(page, 3)
    assert written(page) == "And 5?", "what is being written stays"


def test_the_conversation_is_kept_for_the_tab(page, stub) -> None:
    stub.says("Four, $x$")
    ask(page, "2 + 2?")
    finished(page, 1)
    stub.says("Half an answer", end=None)
    ask(page, "3 + 3?")
    until(lambda: "Half an answer" in at(page, "talk").text)
    saved = page.execute_script("return sessionStorage.getItem('tinymathreason/1')")
    page.refresh()
    text = finished(page, 2)
    for kept in ("2 + 2?", "Four", "12 tokens", "3 + 3?", "Half an answer", "stopped"):
        assert kept in text
    until(lambda: len(all_of(page, ".answer math")) == 1)
    # A browser that crashes saves nothing more.
    crashed = f"sessionStorage.setItem('tinymathreason/1', {json.dumps(saved)})"
    with starting_with(page, crashed):
        page.refresh()
    text = finished(page, 2)
    for kept in ("2 + 2?", "Four", "12 tokens", "3 + 3?", "stopped"):
        assert kept in text
    first, url = page.current_window_handle, page.current_url
    page.switch_to.new_window("tab")
    page.get(url)
    assert at(page, "talk").text == ""
    assert at(page, "welcome").is_displayed()
    page.close()
    page.switch_to.window(first)
    at(page, "clear").click()
    assert at(page, "talk").text == ""
    page.refresh()
    assert at(page, "talk").text == ""
    at(page, "example").click()
    assert "coins" in written(page)


@pytest.mark.parametrize(
    "script",
    [
        "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error('denied') }})",
        "sessionStorage.setItem('tinymathreason/1', '{')",
        "sessionStorage.setItem('tinymathreason/1', '7')",
    ],
    ids=["denied", "unreadable", "not ours"],
)
def test_without_a_history_that_can_be_read_the_page_starts_empty(page, stub, script) -> None:
    stub.says("4")
    with starting_with(page, script):
        page.refresh()
    until(lambda: "tiny" in at(page, "model").text)
    assert at(page, "welcome").is_displayed()
    ask(page, "2 + 2?")
    assert "4" in finished(page, 1)
    assert browser.complaints(page) == []


@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE])
def test_everything_fits_and_is_named(page, stub, size) -> None:
    browser.resize(page, size)
    stub.says("a" * 300, "\n$$", " + ".join("x^{10}" * 60), "$$\n", "\n".join("123"))
    ask(page, "w" * 300)
    finished(page, 1)
    stub.says(end=Failure("e" * 300))
    ask(page, "An error, too?")
    finished(page, 2)
    assert browser.overflow(page) == 0
    at(page, "toggle").click()
    assert browser.overflow(page) == 0
    fields = all_of(page, "input, textarea, button")
    assert len(fields) >= 9
    for field in fields:
        assert field.accessible_name or not field.is_displayed(), field.get_attribute("outerHTML")
    page.execute_script("scrollTo(0, 0)")
    box = at(page, "send").rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size[0]
    bottom = page.execute_script("return send.getBoundingClientRect().bottom <= innerHeight")
    assert bottom, "the question's field is always in view"

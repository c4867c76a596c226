"""The result of a finished quickstart, as a user sees it; .ci/run runs this last."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import browser, notebook

pytestmark = pytest.mark.quickstart
RUN = Path("runs/quickstart")
MODEL = RUN / "sft" / "model"


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", *words]


def test_the_model_can_be_pushed() -> None:
    words = command("release.push", "--model", str(MODEL), "--repo", "org/name", "--dry-run")
    shown = subprocess.run(words, capture_output=True, text=True)
    assert (shown.returncode, "dry run: nothing was sent" in shown.stdout) == (0, True)


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own; a cell that warns fails
def test_the_notebook_walks_through_the_run(tmp_path, monkeypatch) -> None:
    text = notebook.outputs(RUN, tmp_path, monkeypatch)
    assert "820,352 parameters, compared at" in text
    assert text.count("<mark>") > 10
    assert re.search(r"base .*arithmetic.*sft .*arithmetic", text, re.DOTALL)


@browser.needed
def test_the_report_opens(tmp_path) -> None:
    with browser.opened(tmp_path) as driver:
        for size in (browser.DESKTOP, browser.PHONE):
            browser.resize(driver, size)
            driver.get(f"file://{(RUN / 'report.html').resolve()}")
            assert "Report of quickstart" in driver.page_source
            assert browser.overflow(driver) == 0
            assert browser.complaints(driver) == []


@browser.needed
def test_the_model_answers_on_its_page(tmp_path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    lines = (RUN / "evaluation" / "sft" / "samples.jsonl").read_text().splitlines()
    samples = [sample for sample in map(json.loads, lines) if sample["correct"]][:3]
    words = command("release.chat", "--model", str(MODEL), "--port", "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        try:
            with browser.opened(tmp_path) as driver:
                driver.get(url)
                for count, sample in enumerate(samples, 1):
                    question = driver.find_element(By.ID, "question")
                    question.send_keys(sample["question"], Keys.ENTER)
                    WebDriverWait(driver, 60).until(
                        lambda d, n=count: len(d.find_elements(By.CSS_SELECTOR, ".facts")) == n
                    )
                    talk = driver.find_element(By.ID, "talk").text
                    steps = sample["completions"][0].split("####")[0].strip()
                    assert f"{steps}\n{sample['expected']}\n" in talk
                assert browser.complaints(driver) == []
        finally:
            server.terminate()

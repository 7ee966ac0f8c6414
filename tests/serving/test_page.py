"""The page in a real browser, where there is one."""

import re
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.serving.servers import ENGINE, Remote, httpx

FIRST = "A joy from start to end."


def test_it_asks_nobody_else(remote: Remote) -> None:
    response = httpx.get(remote.url)
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r'(src|href)="(https?:)?//', response.text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy


def found(browser: Any, selector: str) -> Any:
    """Return the elements of a selector, once there are any."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))


def wait_for(browser: Any, condition: Callable[[], Any]) -> None:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(browser, 30, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(lambda b: condition())


def answers(browser: Any) -> str:
    return str(found(browser, "#answers")[0].text)


def clean(browser: Any) -> bool:
    return [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def test_the_keyboard_is_enough(remote: Remote, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(remote.url)
    found(browser, "#model option")
    texts, slider = found(browser, "#texts")[0], found(browser, "#threshold")[0]
    texts.clear()
    texts.send_keys(f"{FIRST}\n<b>dull</b>")
    texts.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == slider
    slider.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(browser, lambda: "<b>dull</b>" in answers(browser))
    assert re.search(r"2 of 2 texts answered in [\d.]+ ms", found(browser, "#status")[0].text)
    for key, exit, layers in ((Keys.HOME, 0, 1), (Keys.END, 3, 4)):
        slider.send_keys(key)
        wait_for(browser, lambda: answers(browser).count(f"left after layer {exit}") == 2)  # noqa: B023
        bars = found(browser, ".layers")
        assert len(bars) == 2 and bars[0].get_attribute("role") == "img"
        assert bars[0].get_attribute("aria-label") == f"{layers} of 4 layers run"
        assert len(found(browser, ".layer.run")) == 2 * layers
    assert answers(browser).count("exit 2: ") == 2 and "Probabilities: positive" in answers(browser)
    point = found(browser, "#plot")[0].get_attribute("aria-label")
    assert point == "At threshold 1, 4.00 of 4 layers on average"
    assert clean(browser)


def test_everything_has_a_name(remote: Remote, browser: Any) -> None:
    """Screen readers say what each control is, and hear of answers."""
    browser.get(remote.url)
    found(browser, "#model option")
    browser.execute_script("document.querySelectorAll('[hidden]').forEach(e => e.hidden = false)")
    for control in found(browser, "select, textarea, input, button, progress, svg[role=img]"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert found(browser, "#status")[0].get_attribute("aria-live") == "polite"
    assert found(browser, "#file-status")[0].get_attribute("aria-live") == "polite"
    assert found(browser, "html")[0].get_attribute("lang") == "en"
    assert len(found(browser, "h1")) == len(found(browser, "main")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(remote: Remote, browser: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(remote.url)
    found(browser, "#model option")
    for selector in ("body", ".dim", "button", "a"):
        element = found(browser, selector)[0]
        back = found(browser, "body")[0].value_of_css_property("background-color")
        assert contrast(element.value_of_css_property("color"), back) >= 4.5, selector


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""

    def luminance(color: str) -> float:
        channels = [int(n) / 255 for n in re.findall(r"\d+", color)[:3]]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lower, upper = sorted([luminance(one), luminance(other)])
    return (upper + 0.05) / (lower + 0.05)


def test_a_key_is_asked_for(serve: Callable[..., Remote], browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    browser.get(serve(f"tiny={ENGINE}", "--api-key-file", keys).url)
    key = found(browser, "#key")[0]
    wait_for(browser, key.is_displayed)
    assert "a valid API key is needed" in found(browser, "#status")[0].text
    key.send_keys("secret" + Keys.ENTER)
    wait_for(browser, lambda: FIRST in answers(browser))

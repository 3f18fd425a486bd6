"""The page of a plan: its answers are the planner's, and in a browser it shows them."""

import json
import re
import shutil

import pytest
from scenarios.naive_plans import random_costs
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from mmman.planning import Planner
from mmman.planning.peak_parts import parts_of_peaks
from mmman.planning.plan_page import memories_of, plan_page
from mmman.planning.planner import CHOICES

TITLE = 'configs/<b>bold</b></script>.py'
FLAGS = (
    *('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'window-size=1200,1000'),
    *('disable-background-networking', 'disable-component-update', 'disable-sync'),
)


def lines_of(plan, memory):
    return f'# </script> {memory}\nlocal_learning = dict(ends={plan.ends}, work={plan.work.flops})\n'


@pytest.fixture(scope='module')
def planner():
    """Plans end to end and of two and three blocks."""
    return Planner(random_costs(22, 4))


@pytest.fixture(scope='module')
def start(planner):
    """A memory, not a round one, where local learning is better."""
    return round(planner.frontier('MAN++')[-1][0]) + 1


@pytest.fixture(scope='module')
def page(planner, start):
    return plan_page(planner, start, 'always', TITLE, 'batches of 2 images', lines_of)


@pytest.fixture(scope='module')
def data(page):
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_every_answer_is_the_planners(planner, data):
    assert tuple(data['answers']) == CHOICES
    for choice, answers in data['answers'].items():
        for memory, answer in zip(data['memories'], answers, strict=True):
            plan = planner.best(memory, choice)
            if plan is None:
                assert answer['says'].startswith('Nothing fits into') and not answer['lines'] and not answer['blocks']
                continue
            assert answer['peak'] == plan.peak <= memory
            assert answer['lines'] == lines_of(plan, memory)
            kinds = [[v for k, v in block.items() if k != 'name'] for block in answer['blocks']]
            assert kinds == [list(part) for part in parts_of_peaks(planner, plan)]
            assert max(map(sum, kinds)) == plan.peak


def test_the_slider_goes_from_below_the_least_to_above_end_to_end(planner, start):
    memories = memories_of(planner, start)
    assert memories == sorted(set(memories)) and len(memories) <= 64 and start in memories
    assert memories[0] < planner.least().peak and memories[-1] > planner.end_to_end().peak
    ends = [planner.frontier(name)[-1][0] for name in ('end to end', 'MAN++')]
    assert {*ends, planner.end_to_end().peak} <= set(memories)


@pytest.mark.parametrize('memory', [1, 10**12])
def test_any_memory_can_be_asked_for(planner, memory):
    assert memory in memories_of(planner, memory)
    assert plan_page(planner, memory, 'never', TITLE, '', lines_of)


def test_no_text_ends_a_script_or_is_markup(page):
    assert page.count('</script>') == 3 and '<b>' not in page.replace('<br>', '')
    assert page.count('configs/&lt;b&gt;bold&lt;/b&gt;&lt;/script&gt;.py') == 2


# --------------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope='module')
def browser(tmp_path_factory, page):
    """Chromium with the page open; a list of the addresses that it has asked for."""
    programs = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if None in programs:
        pytest.skip('no chromium: apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f'user-data-dir={tmp_path_factory.mktemp("profile")}'):
        options.add_argument(f'--{flag}')
    options.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
    path = tmp_path_factory.mktemp('page') / 'plan.html'
    path.write_text(page, encoding='utf-8')
    driver = webdriver.Chrome(options, Service(programs[1]))
    try:
        driver.get('about:blank')
        driver.get_log('performance')  # what a new tab asks for
        driver.get(path.as_uri())
        yield driver
    finally:
        driver.quit()


def shown(browser):
    """What the page shows: the config's lines, the names of the bars, and what it says."""
    lines = browser.find_element(By.ID, 'lines')
    bars = browser.find_elements(By.CSS_SELECTOR, '#blocks .ytick text')
    text = lines.get_property('textContent') if lines.is_displayed() else None
    names = [bar.get_property('textContent') for bar in bars if bar.is_displayed()]
    return text, sorted(names), browser.find_element(By.ID, 'says').text


def choose(browser, choice, index):
    """Choose as a user does: a click, and a key on the slider, which is put beside the place before."""
    browser.find_element(By.CSS_SELECTOR, f'input[value={choice}]').click()
    slider = browser.find_element(By.ID, 'slider')
    browser.execute_script('arguments[0].value = arguments[1]', slider, index - 1 if index else 1)
    slider.send_keys(Keys.ARROW_RIGHT if index else Keys.ARROW_LEFT)
    assert int(slider.get_property('value')) == index


def test_the_page_starts_with_the_best_plan(browser, planner, start):
    plan = planner.best(start, 'always')
    lines, bars, says = shown(browser)
    assert lines == lines_of(plan, start)
    assert len(bars) == plan.num_blocks > 1 and bars[0] == f'block 1to {plan.ends[0]}'
    assert says.startswith('MAN++, K=')
    assert browser.title == f'Plan: {TITLE}' and browser.find_element(By.TAG_NAME, 'h1').text == TITLE


def test_what_is_chosen_is_shown(browser, planner, data):
    seen = set()
    for choice in CHOICES:
        for index in (0, data['start'], data['start'] + 5, len(data['memories']) - 1):
            choose(browser, choice, index)
            memory, (lines, bars, says) = data['memories'][index], shown(browser)
            plan = planner.best(memory, choice)
            assert lines == (plan and lines_of(plan, memory))
            assert len(bars) == (plan.num_blocks if plan else 0)
            assert says == data['answers'][choice][index]['says']
            seen.add((choice, plan and plan.num_blocks))
    assert {('never', 1), ('always', 2), ('always', 3), ('if-better', None)} <= seen
    assert not {('never', 2), ('never', 3), ('always', 1)} & seen


def test_what_does_not_fit_is_said(browser):
    choose(browser, 'if-better', 0)
    lines, bars, says = shown(browser)
    assert lines is None and not bars and says.startswith('Nothing fits into')


def test_the_lines_are_copied(browser, data):
    choose(browser, 'never', len(data['memories']) - 1)
    button = browser.find_element(By.ID, 'copy')
    button.click()
    WebDriverWait(browser, 30).until(lambda _: button.text == 'Copied')  # a browser writes in its own time
    assert browser.execute_script('return getSelection().toString()') == shown(browser)[0].rstrip('\n')
    choose(browser, 'always', len(data['memories']) - 1)
    assert button.text == 'Copy'


def test_the_page_asks_for_nothing_and_reports_nothing(browser):
    """The last test: what the others did counts, too."""
    assert browser.get_log('browser') == []
    events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = [e['params']['request']['url'] for e in events if e['method'] == 'Network.requestWillBeSent']
    assert [url.partition(':')[0] for url in asked] == ['file']

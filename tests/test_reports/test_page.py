"""The page in a real browser, if there is one."""
import re
import shutil

import numpy as np
import pytest
from lvis_data import make_dataset, write_json
from saved_runs import write_run

from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.reports.confusions import confusions_of
from eql_mmdet.reports.measures import Diagnosis, Evaluated, Resampling
from eql_mmdet.reports.page import Report, percent, render, signed
from eql_mmdet.reports.pressure_hook import _append
from eql_mmdet.reports.run_report import Options, page_of
from eql_mmdet.reports.saved_run import SavedRun

ODD = '</script><b>"quoted" & \'odd\'</b>'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run, a baseline, gradients, and the page about them."""
    folder = tmp_path_factory.mktemp('runs')
    dataset = write_run(folder)
    names = [category['name'] for category in dataset['categories']]
    _append(
        str(folder / 'pressure.csv'), 1, names,
        [[1., 2., k, 0., 1.] for k in range(len(names))])
    page = page_of(
        SavedRun(
            str(folder / 'a/predictions.pkl'),
            str(folder / 'ann.json'),
            images=str(folder / 'images'),
            config=f'name = {ODD!r}',
            pressure=str(folder / 'pressure.csv')),
        f'Run {ODD}',
        Options(pictures=2, resampling=Resampling(10)),
        baseline=SavedRun(str(folder / 'b/predictions.pkl')))
    (folder / 'page.html').write_text(page)
    return folder


def many_categories(number):
    """A report about so many categories, with numbers from nowhere."""
    rng = np.random.default_rng(0)
    rows = [
        dict(
            id=k,
            name=f'category {k}',
            frequency='rcf'[k % 3],
            image_count=int(rng.integers(1, 2000)),
            ground_truths=k,
            AP=rng.random(),
            AR=rng.random(),
            low=0.1,
            high=0.9) for k in range(number)
    ]
    group = dict.fromkeys(('AP', 'AP50', 'AP75', 'AR', 'low', 'high'), 0.5)
    matrix = rng.random((number + 1, number + 1)) < 0.003
    errors = dict.fromkeys(('Loc', 'Cls', 'Both', 'Dupe', 'Bkg', 'Miss'), 0.1)
    return Report(
        title='many',
        iou_type='bbox',
        evaluated=dict(
            bbox=Evaluated(None, None, None, [
                dict(group, name='all', categories=9, with_objects=9)
            ], rows, dict(APs=0.1, APm=0.2, APl=-1))),
        diagnosis=Diagnosis(
            dict(delta_ap=errors, counts=errors, ap_base=0.5),
            dict(ece=0.1, bins=[]), confusions_of(matrix), []),
        score_thr=0.3,
        pictures=[],
        notes=[],
        facts=[])


@pytest.fixture(scope='module')
def browser():
    """Chromium without a window, driven by selenium."""
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='selenium is not installed')
    paths = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if not all(paths):
        pytest.skip('there is no chromium or no chromedriver: Debian has '
                    'them in the packages chromium and chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for name in ('headless=new', 'no-sandbox', 'disable-gpu',
                 'disable-dev-shm-usage', 'window-size=1200,900'):
        options.add_argument(f'--{name}')
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, folder):
    """The open page; afterwards the console must be empty."""
    browser.get((folder / 'page.html').as_uri())
    yield browser
    assert browser.get_log('browser') == []


def cells(driver, column):
    return driver.execute_script(
        'return [...document.querySelectorAll("#table tbody tr")]'
        f'.map((row) => row.cells[{column}].textContent)')


def click(driver, selector):
    driver.execute_script(
        f'document.querySelector({selector!r}).dispatchEvent('
        'new MouseEvent("click", {bubbles: true}))')


def test_headings_sort_the_table_both_ways(page):
    values = [float(v) for v in cells(page, 1) if v != '–']
    assert len(values) > 2 and values == sorted(values)
    for descending in (True, False):
        click(page, '#table th:nth-child(2) button')
        found = cells(page, 1)
        values = [float(v) for v in found if v != '–']
        assert values == sorted(values, reverse=descending)
        assert '–' not in found[:len(values)]  # unknown comes last
    click(page, '#table th:nth-child(1) button')
    assert cells(page, 0) == sorted(cells(page, 0))


def test_names_are_searched_and_groups_chosen(page):
    everything = cells(page, 0)
    name = everything[0]
    page.find_element('id', 'search').send_keys(name.upper())
    assert cells(page, 0) == [n for n in everything if name in n]
    page.find_element('id', 'search').clear()
    page.find_element('id', 'search').send_keys(' ')
    page.find_element('id', 'group').send_keys('rare')
    shown = cells(page, 0)
    assert 0 < len(shown) < len(everything)
    count = page.find_element('id', 'count').text
    assert count == f'{len(shown)} of {len(everything)} categories'


def test_a_point_tells_its_category_and_finds_it(page):
    page.execute_script('''document.querySelector('.chart [data-k="3"]')
        .dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))''')
    tip = page.find_element('id', 'tip')
    assert tip.is_displayed()
    name = tip.text.partition(': AP ')[0]
    click(page, '.chart [data-k="3"]')
    assert name in cells(page, 0)
    assert page.execute_script('return search.value') == name


def test_pictures_are_drawn_and_one_opens(page):
    sizes = page.execute_script('''
        return Promise.all([...document.querySelectorAll('.picture img')].map(
            (image) => image.decode().then(() => image.naturalWidth)))''')
    assert len(sizes) == 8 and min(sizes) > 200
    click(page, '.picture button img')
    dialog = page.find_element('id', 'large')
    assert dialog.is_displayed()
    dialog.find_element('tag name', 'button').click()
    assert not dialog.is_displayed()


def test_text_stays_text(page):
    assert page.title == f'Run {ODD}'
    page.execute_script('document.querySelector("details").open = true')
    assert repr(ODD) in page.find_element('tag name', 'pre').text
    assert page.find_elements('css selector', 'h1 b, pre b') == []


def luminance(colour):
    """Relative luminance as WCAG has it, of ``rgb(r, g, b)``."""
    values = np.array([int(v) for v in re.findall(r'\d+', colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92,
                      ((values + 0.055) / 1.055)**2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [400, 1200])
def test_page_is_readable_narrow_and_in_the_dark(page, width, scheme):
    page.execute_cdp_cmd(
        'Emulation.setEmulatedMedia',
        dict(features=[dict(name='prefers-color-scheme', value=scheme)]))
    page.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(width=width, height=800, deviceScaleFactor=1, mobile=False))
    inside = page.execute_script('return document.documentElement.scrollWidth')
    assert inside <= width  # only tables scroll sideways, inside of it
    paper = page.execute_script(
        'return getComputedStyle(document.body).backgroundColor')
    assert (luminance(paper) < 0.1) == (scheme == 'dark')
    for selector in ('body', '.small', 'td', 'thead button', 'a',
                     '.chart text'):
        ink, size = page.execute_script(
            f'''const found = document.querySelector({selector!r});
            const style = getComputedStyle(found);
            const scale = found.getScreenCTM ? found.getScreenCTM().a : 1;
            return [found.getScreenCTM ? style.fill : style.color,
                    scale * parseFloat(style.fontSize)]''')
        dark, light = sorted(map(luminance, (ink, paper)))
        assert (light + 0.05) / (dark + 0.05) > 4.5, selector
        assert size > 8.5, selector


def test_a_thousand_categories_open_quickly(browser, folder, tmp_path):
    text = render(many_categories(1230), load_index(str(folder / 'ann.json')))
    path = tmp_path / 'many.html'
    path.write_text(text)
    assert len(text) < 1e6  # without pictures
    browser.get(path.as_uri())
    assert len(cells(browser, 0)) == 100
    assert len(browser.find_elements('css selector',
                                     '.chart [data-k]')) == 1230
    click(browser, '#all')
    assert len(cells(browser, 0)) == 1230
    assert browser.get_log('browser') == []


@pytest.mark.parametrize('annotated', [True, False])
def test_nothing_found_and_nothing_to_find_are_a_page_too(tmp_path, annotated):
    dataset = make_dataset(np.random.default_rng(7), images=6, categories=3)
    if not annotated:
        dataset['annotations'] = []
    ann = write_json(tmp_path / 'ann.json', dataset)
    predictions = write_json(tmp_path / 'none.json', [])
    text = page_of(
        SavedRun(predictions, ann), 'empty', Options(resampling=Resampling(2)))
    value = percent(0 if annotated else None)
    assert f'<th>all</th><td>{value}</td>' in text
    assert '6 of 6 images have no predictions' in text


def test_numbers_are_in_percent_and_unknown_ones_are_dashes():
    assert [percent(v) for v in (0.1234, 0, None, -1, float('nan'))
            ] == ['12.3', '0.0', '–', '–', '–']
    assert [signed(v) for v in (0.05, -0.05)] == ['+5.0', '−5.0']

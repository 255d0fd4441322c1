"""Charts as elements of a page."""
import re
from xml.etree import ElementTree

import pytest

from eql_mmdet.reports.charts import error_bars, reliability, scatter

ROWS = [
    dict(frequency=frequency, image_count=images, AP=ap)
    for frequency, images, ap in (('r', 2, 10.), ('f', 900, 30.),
                                  ('r', None, 20.), ('c', 40, None),
                                  ('r', 3, 0.), ('f', 700, 50.))
]
ERRORS = dict(delta_ap={
    key: 0.1
    for key in ('Loc', 'Cls', 'Both', 'Dupe', 'Bkg', 'Miss', 'FP', 'FN')
})
BINS = [
    dict(bin_lower=low, bin_upper=low + 0.5, avg_accuracy=0.3, count=count)
    for low, count in ((0, 4), (0.5, 0))
]


def test_every_known_category_is_a_point_with_its_number():
    found = scatter(ROWS, 'AP', 'AP, %')
    assert sorted(re.findall(r'data-k="(\d)"', found)) == ['0', '1', '4', '5']
    points = re.findall(r'data-k="(\d)" [^>]*x="([\d.]+)" y="([\d.]+)"', found)
    place = {int(k): (float(x), float(y)) for k, x, y in points}
    assert place[0][0] < place[4][0] < place[5][0] < place[1][0]
    assert place[5][1] < place[1][1] < place[0][1] < place[4][1]


def test_a_logarithmic_axis_has_no_zero():
    found = scatter(ROWS, 'AP', 'ratio', yscale='log')
    assert sorted(re.findall(r'data-k="(\d)"', found)) == ['0', '1', '5']


def test_nothing_to_draw_is_no_chart():
    assert scatter(ROWS[2:4], 'AP', 'AP, %') == ''


@pytest.mark.parametrize('chart', [
    lambda: scatter(ROWS, 'AP', 'AP, %'), lambda: error_bars(ERRORS),
    lambda: reliability(dict(bins=BINS))
])
def test_charts_are_svg_in_the_colour_of_the_page(chart):
    found = chart()
    assert found == chart()
    root = ElementTree.fromstring(
        found.replace('<svg ',
                      '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert root.get('class') == 'chart' and root.get('viewBox')
    assert 'currentColor' in found and '#010203' not in found
    assert '#000000' not in found

"""Pictures and tables of trainings by image count."""
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from eql_mmdet.reports.long_tail_report import (Categories, draw_ap_by_count,
                                                draw_pressure, pressure_table)
from eql_mmdet.reports.pressure import Pressure

CATEGORIES = Categories(np.array([700, 40, 3, 3, 1]), 'fcrrr')


@pytest.fixture
def runs():
    """Two seeds of one method; the last category never occurs."""
    first = Pressure(
        up=np.array([8., 4, 1, 1, 0.5]),
        down_foreground=np.array([4., 4, 2, 4, 1]),
        down_background=np.array([2., 1, 1, 1, 0]),
        own_score=np.array([90., 4, 0.2, 0.1, 0]),
        own_rois=np.array([100., 10, 2, 2, 0]))
    second = first._replace(up=2 * first.up)
    return dict(sigmoid=[first, second])


@pytest.fixture
def lines(monkeypatch):
    """All lines that are drawn, as (x, y)."""
    drawn, plot = [], Axes.plot

    def record(self, x, y, **kwargs):
        drawn.append((np.array(x), np.array(y)))
        return plot(self, x, y, **kwargs)

    monkeypatch.setattr(Axes, 'plot', record)
    return drawn


def test_table_adds_up_groups_and_averages_seeds(runs):
    table = pressure_table(CATEGORIES, runs, runs).splitlines()
    assert len(table) == 2 + 3
    # up (2.5 + 5) / 2, down 7 and 2, score 0.3 / 4
    assert table[
        2] == '| sigmoid | rare | 3.75 | 7.00 | 2.00 | 2.40 | 0.0750 |'
    assert table[4].startswith('| sigmoid | frequent | 12.00 | 4.00 | 2.00 |')


def test_ap_is_averaged_in_bins_of_image_count(lines, tmp_path):
    aps = dict(
        a=np.array([[0.5, 0.3, 0.1, np.nan, 0], [0.7, 0.3, 0.2, 0.4, 0]]))
    draw_ap_by_count(CATEGORIES, aps, tmp_path / 'a.png')
    (x, y), = lines
    np.testing.assert_allclose(x, [1, 3, 40, 700])
    np.testing.assert_allclose(y, [0, (10 + 30) / 2, 30, 60])
    assert imread(tmp_path / 'a.png').std() > 0


def test_pressure_is_drawn_as_ratios_and_mean_scores(lines, runs, tmp_path):
    draw_pressure(CATEGORIES, runs, runs, tmp_path / 'p.png')
    foreground, background, scores = lines
    np.testing.assert_allclose(foreground[1], [1.5, 2.25, 0.75, 0.375])
    np.testing.assert_allclose(background[1][-1], (2 / 8 + 2 / 16) / 2)
    # The category that does not occur has no score, and no point.
    np.testing.assert_allclose(scores[0], [3, 40, 700])
    np.testing.assert_allclose(scores[1], [0.075, 0.4, 0.9])
    assert imread(tmp_path / 'p.png').std() > 0


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'expected values \(S, K\)'):
        draw_ap_by_count(CATEGORIES, dict(a=np.zeros((2, 4))),
                         tmp_path / 'a.png')
    assert not list(tmp_path.iterdir())

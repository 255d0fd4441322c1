"""The table of ``CategoryPressureHook``, read again."""
import pytest

from eql_mmdet.reports.pressure_hook import _append
from eql_mmdet.reports.pressure_table import PressureSum, read_pressure


def test_sums_are_over_all_iterations(tmp_path):
    path = str(tmp_path / 'category_pressure.csv')
    for iteration, scale in ((10, 1), (20, 2)):
        rows = [[scale * v for v in (1., 2., 3., .5, 4)],
                [scale * v for v in (4., 5., 6., .5, 4)]]
        _append(path, iteration, ('cup, "big"', 'bowl'), rows)
    assert read_pressure(path) == {
        'cup, "big"': PressureSum(3, 6, 9),
        'bowl': PressureSum(12, 15, 18)
    }


@pytest.mark.parametrize('text, words', [
    ('', 'has none'),
    ('name,up\ncup,1\n', 'columns name, up, down_foreground'),
    ('name,up,down_foreground,down_background\ncup,1,2,3\ncup,4\n', 'line 3'),
])
def test_other_tables_are_refused(tmp_path, text, words):
    path = tmp_path / 'category_pressure.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_pressure(str(path))

"""The picture of remedies shows all of them."""
import pytest
from matplotlib.image import imread

from eql_mmdet.reports.remedies import ITEMS, Outcome, Remedy
from eql_mmdet.reports.remedy_picture import draw_remedies


def outcomes(number):
    return [
        Outcome(
            Remedy(f'loss{i}', 'rfs', 'none', '9 steps'), seed, {
                (name, 300): dict.fromkeys(ITEMS, 0.1 + 0.01 * (i + seed))
                for name in ('federated', 'exhaustive')
            }) for i in range(number) for seed in (0, 1)
    ]


def test_more_remedies_make_a_taller_picture(tmp_path):
    shapes = []
    for number in (2, 9):
        path = tmp_path / f'{number}.png'
        draw_remedies(outcomes(number), ('federated', 'exhaustive'), 300, path)
        picture = imread(path)
        shapes.append(picture.shape)
        for colour in ((0xe4, 0x57, 0x2e), (0x1f, 0x6f, 0x8b)):
            near = abs(255 * picture[..., :3] - colour).sum(axis=-1) < 12
            assert near.sum() > 10 * number
    assert shapes[0][1] == shapes[1][1] and shapes[0][0] < shapes[1][0]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match='expected outcomes'):
        draw_remedies([], ('federated', ), 300, tmp_path / 'a.png')

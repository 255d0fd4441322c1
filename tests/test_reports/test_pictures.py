"""Tables and pictures say what they were given."""
import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from eql_mmdet.reports import pictures as report
from eql_mmdet.reports.pictures import (Panel, draw_contact_sheet,
                                        draw_frequency, metric_table)

NAMES = ('AP', 'AP50', 'APr', 'APc', 'APf')
BOX = dict(zip([f'bbox_{n}' for n in NAMES], [.2, .4, .05, .1234, 1.]))
MASK = dict(zip([f'segm_{n}' for n in NAMES], [.3, .5, -1, float('nan'), 0.]))


def parse(table):
    """Rows of a Markdown table by their first cell."""
    header, rule, *rows = ([
        cell.strip() for cell in line.strip('|').split('|')
    ] for line in table.splitlines())
    assert all(set(cell) <= set('-:') for cell in rule)
    assert {len(row) for row in rows} == {len(header)} == {len(rule)}
    return {row[0]: dict(zip(header[1:], row[1:])) for row in rows}


def read(path):
    """Read a PNG file, (H, W, 3) RGB in [0, 1]."""
    assert path.read_bytes().startswith(b'\x89PNG')
    return cv2.imread(str(path))[..., ::-1] / 255


def near(picture, colour, tolerance=0.02):
    """Pixels of a colour."""
    return np.abs(picture - to_rgb(colour)).max(axis=-1) < tolerance


@pytest.mark.parametrize('prefix', ['', 'lvis/', 'val/tiny/'])
def test_table_gives_percent_for_boxes_and_masks(prefix):
    metrics = {prefix + k: v for k, v in {**BOX, **MASK}.items()}
    metrics['lvis/bbox_APs'] = 0.9
    assert parse(metric_table(metrics)) == dict(
        box=dict(AP='20.0', AP50='40.0', APr='5.0', APc='12.3', APf='100.0'),
        mask=dict(AP='30.0', AP50='50.0', APr='-', APc='-', APf='0.0'))


@pytest.mark.parametrize('metrics, row', [(BOX, 'box'), (MASK, 'mask')])
def test_table_has_only_the_rows_that_were_measured(metrics, row):
    assert list(parse(metric_table(metrics))) == [row]


@pytest.mark.parametrize('lost', NAMES[1:])
def test_table_names_what_is_missing(lost):
    metrics = {k: v for k, v in BOX.items() if k != f'bbox_{lost}'}
    with pytest.raises(ValueError, match=f'metrics bbox_{lost}, got only'):
        metric_table(metrics)


def test_table_without_metrics_asks_for_them():
    with pytest.raises(ValueError, match='bbox_AP, .*segm_APf, got only none'):
        metric_table({})


@pytest.mark.parametrize('number', [
    1, 60,
    pytest.param(12, marks=pytest.mark.slow),
    pytest.param(1230, marks=pytest.mark.slow)
])
def test_frequency_picture_shows_the_tail_in_its_share(number, tmp_path):
    counts = np.geomspace(1000, 1, number).round()
    shuffled = np.random.default_rng(0).permutation(counts)
    tail = shuffled < 40
    draw_frequency(shuffled, tail, 0.04, 1000, tmp_path / 'frequency.png')
    picture = read(tmp_path / 'frequency.png')
    # Along the foot of the bars, left of the legend's height.
    foot = picture[int(0.85 * len(picture))]
    protected = near(foot, report.TAIL_COLOUR).sum()
    others = near(foot, report.HEAD_COLOUR).sum()
    assert protected + others > 0.85 * len(foot)
    assert protected / (protected + others) == pytest.approx(
        tail.mean(), abs=0.01)
    # The most frequent come first.
    if protected and others:
        assert near(foot, report.HEAD_COLOUR).argmax() < near(
            foot, report.TAIL_COLOUR).argmax()


@pytest.mark.parametrize('count, threshold, num_images', [(100, 0.1, 1000),
                                                          (10, 0.1, 100),
                                                          (10, 0.005, 2000)])
def test_frequency_picture_has_its_line_at_the_threshold(
        count, threshold, num_images, tmp_path):
    draw_frequency([1000, count], [0, 1], threshold, num_images,
                   tmp_path / 'frequency.png')
    # Right of the frequent category, below the legend, above the axis.
    picture = read(tmp_path / 'frequency.png')[150:500, 800:1100]
    line = near(picture, report.LINE_COLOUR, 0.15).sum(axis=1).argmax()
    top_of_bar = near(picture, report.TAIL_COLOUR).any(axis=1).argmax()
    assert line == pytest.approx(top_of_bar, abs=3)


def test_frequency_picture_takes_tensors_of_weights(tmp_path):
    paths = tmp_path / 'numpy.png', tmp_path / 'torch.png'
    draw_frequency(np.array([9, 1]), np.array([0, 1]), 0.5, 10, paths[0])
    draw_frequency(
        torch.tensor([9, 1]), torch.tensor([0., 1.]), 0.5, 10, paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize('counts, mask, message', [
    ([3, 2], [1], r'\(2,\) and \(1,\)'),
    ([[3, 2]], [[1, 0]], r'\(1, 2\)'),
    ([3, 0], [0, 1], 'at least one image'),
    ([], [], 'at least one category'),
])
def test_frequency_picture_refuses_what_it_cannot_draw(counts, mask, message,
                                                       tmp_path):
    with pytest.raises(ValueError, match=message):
        draw_frequency(counts, mask, 0.1, 10, tmp_path / 'frequency.png')
    assert not any(tmp_path.iterdir())


def square(left, size=128):
    mask = np.zeros((1, size, size), bool)
    mask[0, 40:80, left:left + 40] = True
    return mask


def panel(true=square(10), pred=square(80), **other):
    arguments = dict(
        image=np.full((128, 128, 3), 200, np.uint8),
        true_masks=true,
        true_names=['red_plain_star'] * len(true),
        pred_masks=pred,
        pred_names=['red_plain_star'] * len(pred),
        pred_scores=np.full(len(pred), 0.87))
    return Panel(**{**arguments, **other})


def without_title(picture):
    return picture[int(0.08 * len(picture)):]


def tinted(picture):
    """Pixels that are not grey: masks, boxes and labels."""
    return np.ptp(picture, axis=-1) > 0.1


def test_contact_sheet_has_truth_on_the_left_and_prediction_beside(tmp_path):
    draw_contact_sheet([panel()], tmp_path / 'sheet.png')
    picture = tinted(read(tmp_path / 'sheet.png'))
    truth, found = np.array_split(picture, 2, axis=1)
    third = truth.shape[1] // 3
    assert truth[:, :third].sum() > 4 * truth[:, -third:].sum()
    assert found[:, -third:].sum() > 4 * found[:, :third].sum()


def test_contact_sheet_enlarges_small_images(tmp_path):
    draw_contact_sheet([panel()], tmp_path / 'sheet.png')
    grey = near(read(tmp_path / 'sheet.png'), [200 / 255] * 3)
    assert grey.sum() > 2 * 2 * 128 * 128 * 2


def test_contact_sheet_gives_a_category_one_colour(tmp_path):
    same = panel(true=square(44), pred=square(44))
    other = panel(true=square(44), pred=square(44), pred_names=['blue_star'])
    centres = []
    for i, shown in enumerate((same, other)):
        draw_contact_sheet([shown], tmp_path / f'{i}.png')
        picture = without_title(read(tmp_path / f'{i}.png'))
        height, width = picture.shape[:2]
        row = picture[int(0.46 * height)]
        centres.append((row[int(0.27 * width)], row[int(0.77 * width)]))
    (truth, found), (truth_2, found_2) = centres
    assert np.allclose(truth, found)
    assert not np.allclose(truth_2, found_2, atol=0.05)


@pytest.mark.parametrize('number, rows',
                         [(1, 1), (3, 2),
                          pytest.param(2, 1, marks=pytest.mark.slow),
                          pytest.param(7, 4, marks=pytest.mark.slow)])
def test_contact_sheet_has_two_panels_a_row(number, rows, tmp_path):
    draw_contact_sheet([panel()] * number, tmp_path / 'sheet.png')
    height, width, _ = read(tmp_path / 'sheet.png').shape
    assert width / height == pytest.approx(2 * min(number, 2) / rows, rel=0.1)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'masks', [
        np.zeros((0, 128, 128), bool),
        np.zeros((2, 128, 128), bool),
        np.ones((1, 128, 128), bool)
    ],
    ids=['none', 'empty', 'full'])
def test_contact_sheet_takes_extreme_masks(masks, tmp_path):
    draw_contact_sheet([panel(pred=masks)], tmp_path / 'sheet.png')
    found = np.array_split(
        tinted(without_title(read(tmp_path / 'sheet.png'))), 2, axis=1)[1]
    assert (found.mean() > 0.8) == masks.any()


def test_contact_sheet_does_not_change_the_images(tmp_path):
    shown = panel()
    draw_contact_sheet([shown], tmp_path / 'sheet.png')
    assert (shown.image == 200).all()


def test_contact_sheet_without_panels_is_refused(tmp_path):
    with pytest.raises(ValueError, match='at least one panel'):
        draw_contact_sheet([], tmp_path / 'sheet.png')


@pytest.mark.parametrize('wrong, message', [
    (dict(image=np.zeros((128, 128), np.uint8)), r'\(H, W, 3\) of uint8'),
    (dict(image=np.zeros((128, 128, 3))), 'uint8, got .* of float64'),
    (dict(true=square(10, size=130)), r'true masks \(1, 128, 128\) .*130\)'),
    (dict(pred=square(10).astype(np.uint8)),
     'pred masks .* of bool, .* uint8'),
    (dict(true_names=[]), r'true masks as names and scores, got \[1, 0\]'),
    (dict(pred_scores=[]), r'pred masks as names .* got \[1, 1, 0\]'),
])
def test_panel_refuses_what_does_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        panel(**wrong)

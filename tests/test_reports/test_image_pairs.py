"""Which images the page shows, and what is drawn in them."""
import numpy as np
import pytest
from lvis_data import write_json
from PIL import Image

from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.evaluation.predictions import RawResult
from eql_mmdet.reports.image_pairs import choose_images, find_image, make_panel
from eql_mmdet.reports.pictures import draw_pair

ROWS = [
    dict(image_id=number, f1=f1, tp=tp, fp=fp, fn=fn)
    for number, f1, tp, fp, fn in ((1, 1, 2, 0, 0), (2, 1, 5, 0, 0),
                                   (3, 0.5, 1, 1, 1), (4, 0, 0, 1,
                                                       1), (5, 0, 0, 4, 9))
]


def test_ends_are_shown_with_the_most_telling_images_first():
    found = choose_images(ROWS, 2)
    assert [row['image_id'] for row in found.worst] == [5, 4]
    assert [row['image_id'] for row in found.best] == [2, 1]


def test_no_image_is_shown_twice():
    found = choose_images(ROWS, 9)
    assert [row['image_id']
            for row in found.worst + found.best] == [5, 4, 3, 2, 1]
    assert choose_images([], 3) == ([], [])


@pytest.mark.parametrize('name', ['7.jpg', 'COCO_val2014_7.jpg'])
def test_image_is_found_under_its_name_of_today(tmp_path, name):
    path = tmp_path / '7.jpg'
    path.touch()
    assert find_image(str(tmp_path), name) == str(path)


@pytest.mark.parametrize('name', ['8.jpg', None])
def test_missing_image_is_none(tmp_path, name):
    assert find_image(str(tmp_path), name) is None


@pytest.fixture
def case(tmp_path):
    """An image with a box of cup and a mask of bowl; plate is unchecked."""
    dataset = dict(
        images=[
            dict(
                id=9,
                height=30,
                width=40,
                file_name='9.png',
                neg_category_ids=[],
                not_exhaustive_category_ids=[])
        ],
        categories=[
            dict(id=k, name=name, frequency='f')
            for k, name in enumerate(('cup', 'bowl', 'plate'), 1)
        ],
        annotations=[
            dict(id=1, image_id=9, category_id=1, bbox=[1, 2, 3, 4], area=12),
            dict(
                id=2,
                image_id=9,
                category_id=2,
                bbox=[10, 10, 10, 10],
                area=50,
                segmentation=[[10, 10, 20, 10, 10, 20]])
        ])
    path = tmp_path / '9.png'
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(path)
    return str(path), load_index(write_json(tmp_path / 'a.json', dataset))


def test_boxes_stand_for_masks_and_unchecked_names_are_marked(case):
    path, index = case
    scores = np.array([0.2, 0.9, 0.5])
    raw = RawResult(9, np.array([0, 2, 1]),
                    np.array([[0, 0, 5, 5], [30., 20, 99, 99], [3, 3, 0, 0]]),
                    scores, scores, None)
    panel = make_panel(path, raw, index, 9, score_thr=0.3)
    assert panel.true_names == ['cup', 'bowl']
    rows, columns = np.nonzero(panel.true_masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 1,
                                                                      3)
    assert 30 < panel.true_masks[1].sum() < 70  # half of its box
    assert list(panel.pred_names) == ['plate ?', 'bowl']
    assert panel.pred_masks.sum(axis=(1, 2)).tolist() == [100, 1]
    truth, found = draw_pair(panel)
    assert truth[:2] == found[:2] == b'\xff\xd8' and truth != found


def test_an_image_without_predictions_is_drawn(case):
    path, index = case
    panel = make_panel(path, None, index, 9, 0.3)
    assert len(panel.pred_masks) == 0 and len(panel.true_masks) == 2
    assert all(draw_pair(panel))


def test_another_size_is_refused(case):
    path, index = case
    Image.new('RGB', (41, 30)).save(path)
    with pytest.raises(ValueError, match=r'\(30, 40\).*\(30, 41\).*--images'):
        make_panel(path, None, index, 9, 0.3)

"""What is not a Mask R-CNN that the configs can hold is refused."""
import numpy as np
import pytest
import torch

from eql_mmdet.checkpoints.detectron2_checks import (ANCHORS, check_anchors,
                                                     check_names, check_tensor,
                                                     count_categories)
from eql_mmdet.checkpoints.detectron2_layout import Entry

#: sqrt(1/2), 1, sqrt(2) times the halves of 32 and 512 px.
SMALL = [[-22.6274, -11.3137, 22.6274, 11.3137], [-16, -16, 16, 16],
         [-11.3137, -22.6274, 11.3137, 22.6274]]
LARGE = [[-362.0387, -181.0193, 362.0387, 181.0193], [-256, -256, 256, 256],
         [-181.0193, -362.0387, 181.0193, 362.0387]]


@pytest.mark.parametrize('dtype', ['<f4', '>f4', '<f2', '<f8'])
def test_arrays_become_tensors_of_the_same_values(dtype):
    array = np.array([1.5, -0.25, np.inf], dtype=dtype)
    tensor = check_tensor('a.weight', array)
    assert tensor.element_size() == array.itemsize
    assert tensor.tolist() == array.tolist()


def test_arrays_that_cannot_be_written_to_are_copied():
    array = np.frombuffer(b'\0' * 8, dtype=np.float32)
    check_tensor('a.weight', array).add_(1)
    assert array.tolist() == [0, 0]


def test_counters_are_integers():
    counter = torch.tensor(3)
    assert check_tensor('a.num_batches_tracked', counter) is counter


@pytest.mark.parametrize('name, value, kind', [
    ('a.weight', torch.tensor([1]), 'torch.int64'),
    ('a.weight', np.array(['a']), '<U1'),
    ('a.weight', np.array([None]), 'object'),
    ('a.weight', [1.0], 'list'),
    ('a.num_batches_tracked', torch.tensor(3.), 'torch.float32'),
    (7, torch.tensor([1.]), 'torch.float32'),
])
def test_other_values_are_refused(name, value, kind):
    with pytest.raises(TypeError, match=f'{name!r} holds {kind}'):
        check_tensor(name, value)


def test_all_missing_and_unknown_names_are_listed():
    names = {n: Entry(n, f'our_{n}', ()) for n in 'abc'}
    state = dict.fromkeys('cde', torch.zeros(()))
    with pytest.raises(ValueError) as caught:
        check_names(state, names, 'detectron2')
    first, *rest = str(caught.value).splitlines()
    assert '2 are missing and 2 unknown' in first and 'other' not in first
    assert rest == [
        '  missing: a', '  missing: b', '  unknown: d', '  unknown: e'
    ]


def test_names_of_the_other_side_are_recognised():
    names = {n: Entry(n, f'our_{n}', ()) for n in 'abc'}
    with pytest.raises(ValueError, match='convert the other way round'):
        check_names({'our_a': torch.zeros(())}, names, 'detectron2')


@pytest.mark.parametrize('scores, boxes, masks, expected', [
    (60, 60, 60, [60]),
    (61, 60, 60, [60]),
    (60, 60, 1, [60]),
    (61, 1, 60, [60]),
    (60, 1, 1, [60, 59]),
    (1, 1, 1, [1]),
])
def test_categories_are_counted(scores, boxes, masks, expected):
    widths = dict(scores=scores, boxes=boxes, masks=masks)
    assert count_categories(widths) == expected


@pytest.mark.parametrize('rows', [(60, 61, 61), (60, 60, 59), (62, 60, 60),
                                  (81, 80, 81)])
def test_predictors_that_disagree_are_refused(rows):
    with pytest.raises(ValueError, match=f'got {rows[0]} scores'):
        count_categories(dict(zip(('scores', 'boxes', 'masks'), rows)))


def test_anchors_of_the_configs_pass():
    check_anchors({
        f'{ANCHORS}0': torch.tensor(SMALL),
        f'{ANCHORS}4': torch.tensor(LARGE)
    })


@pytest.mark.parametrize(
    'anchors',
    [LARGE, SMALL[::-1], SMALL[:1], [[y, x, h, w] for x, y, w, h in SMALL]],
    ids=['size', 'order', 'number', 'axes'])
def test_other_anchors_are_refused(anchors):
    with pytest.raises(ValueError, match='one anchor of 32 px.*at level 0'):
        check_anchors({f'{ANCHORS}0': torch.tensor(anchors)})

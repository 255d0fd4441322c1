"""Whole checkpoints, there and back."""
import pytest
import torch
from detectron2_model import make_model

from eql_mmdet.checkpoints.detectron2 import to_detectron2, to_mmdet

HEADS = pytest.mark.parametrize(
    'scores, boxes, masks', [(60, 60, 60), (61, 60, 60), (60, 60, 1),
                             (61, 1, 60), (60, 1, 1)],
    ids=['sigmoid', 'softmax', 'one mask', 'one box', 'agnostic'])
DEPTHS = pytest.mark.parametrize('depth', [50, 101])
COUNTER = 'num_batches_tracked'


@pytest.fixture
def model():
    return make_model()


def assert_same(found, expected):
    assert set(found) == set(expected)
    different = [
        name for name, value in expected.items()
        if found[name].dtype != value.dtype or not found[name].equal(value)
    ]
    assert not different


def add_counters(model, value):
    norms = [n for n in model if n.endswith('norm.running_var')]
    return dict(
        model, **{
            n.replace('running_var', COUNTER): torch.tensor(value + i)
            for i, n in enumerate(norms)
        })


@DEPTHS
@HEADS
def test_detectron2_is_the_same_after_there_and_back(depth, scores, boxes,
                                                     masks):
    model = make_model(depth=depth, scores=scores, boxes=boxes, masks=masks)
    ours = to_mmdet({'model': model}).checkpoint
    assert_same(to_detectron2(ours).checkpoint['model'], model)


@DEPTHS
@HEADS
@pytest.mark.parametrize('count', [0, 7])
def test_mmdet_is_the_same_after_there_and_back(depth, scores, boxes, masks,
                                                count):
    model = make_model(depth=depth, scores=scores, boxes=boxes, masks=masks)
    state = to_mmdet(model).checkpoint['state_dict']
    state.update((k, v + count) for k, v in state.items() if COUNTER in k)
    theirs = to_detectron2({'state_dict': state}).checkpoint
    assert_same(to_mmdet(theirs).checkpoint['state_dict'], state)


def test_precision_is_kept(model):
    half = {k: v.half() for k, v in model.items()}
    ours = to_mmdet({'model': half}).checkpoint
    assert_same(to_detectron2(ours).checkpoint['model'], half)


def test_arrays_are_converted_as_tensors_are(model):
    arrays = {k: v.numpy() for k, v in model.items()}
    assert_same(
        to_mmdet({
            'model': arrays
        }).checkpoint['state_dict'],
        to_mmdet(model).checkpoint['state_dict'])


def test_tensors_alone_are_a_checkpoint_too(model):
    state = to_mmdet(model).checkpoint['state_dict']
    assert_same(to_detectron2(state).checkpoint['model'], model)


def test_counters_of_trained_batch_norm_are_kept(model):
    counted = add_counters(model, 5)
    done = to_mmdet({'model': counted})
    assert done.checkpoint['state_dict'][f'backbone.bn1.{COUNTER}'] == 5
    assert not any('added' in note for note in done.notes)
    back = to_detectron2(done.checkpoint)
    assert_same(back.checkpoint['model'], counted)


def test_frozen_batch_norm_gets_counters_of_zero(model):
    done = to_mmdet({'model': model})
    counters = {
        k: v
        for k, v in done.checkpoint['state_dict'].items() if COUNTER in k
    }
    assert len(counters) == 53
    assert all(v.equal(torch.tensor(0)) for v in counters.values())
    assert any('added: 53 counters' in note for note in done.notes)


def test_a_counter_alone_is_an_error(model):
    model[f'backbone.bottom_up.stem.conv1.norm.{COUNTER}'] = torch.tensor(1)
    with pytest.raises(ValueError, match='52 are missing and 0 unknown'):
        to_mmdet(model)


@pytest.fixture
def constants():
    half = torch.tensor([[2**.5, .5**.5], [1, 1], [.5**.5, 2**.5]])
    boxes = torch.cat([-half, half], 1)
    found = {
        f'proposal_generator.anchor_generator.cell_anchors.{i}':
        boxes * (16 << i)
        for i in range(5)
    }
    mean = torch.tensor([103.53, 116.28, 123.675])
    return dict(
        found, pixel_mean=mean[:, None, None], pixel_std=torch.ones(3, 1, 1))


def test_constants_come_back(model, constants):
    old = dict(model, **constants)
    done = to_mmdet({'model': old})
    assert not set(constants) & set(done.checkpoint['state_dict'])
    assert_same(to_detectron2(done.checkpoint).checkpoint['model'], old)


def test_notes_say_what_the_constants_were(model, constants):
    notes = '\n'.join(to_mmdet(dict(model, **constants)).notes)
    assert 'mean=[103.53' in notes and 'std=[1.0, 1.0, 1.0]' in notes
    assert 'kept in "meta" for the way back: pixel_mean' in notes
    assert 'mean, std and BGR' in '\n'.join(to_mmdet(model).notes)


def test_other_anchors_are_refused(model, constants):
    name = 'proposal_generator.anchor_generator.cell_anchors.3'
    constants[name] *= 2
    with pytest.raises(ValueError, match='at level 3'):
        to_mmdet(dict(model, **constants))


@pytest.mark.parametrize('scores, boxes, masks, expected', [
    (60, 60, 1, [
        '60 scores: 60 categories and no background (sigmoid)',
        'reg_class_agnostic=False in the box head, class_agnostic=True in '
        'the mask head'
    ]),
    (61, 1, 60, [
        '61 scores: 60 categories and background (softmax)',
        'reg_class_agnostic=True in the box head, class_agnostic=False in '
        'the mask head'
    ]),
    (61, 1, 1, [
        '61 scores: 61 categories and no background (sigmoid) or 60 '
        'categories and background (softmax)',
        'reg_class_agnostic=True in the box head, class_agnostic=True in '
        'the mask head'
    ]),
])
def test_notes_say_what_the_config_must(scores, boxes, masks, expected):
    model = make_model(scores=scores, boxes=boxes, masks=masks)
    done = to_mmdet(model)
    assert done.notes[1:3] == expected
    assert to_detectron2(done.checkpoint).notes[1:3] == expected


def test_every_tensor_is_reported_once(model):
    done = to_mmdet(model)
    assert {
        old: shape
        for old, _, shape in done.moved
    } == {
        k: tuple(v.shape)
        for k, v in model.items()
    }
    state = done.checkpoint['state_dict']
    assert {new
            for _, new, _ in done.moved
            } == {k
                  for k in state if COUNTER not in k}
    back = to_detectron2(done.checkpoint)
    assert back.moved == [(new, old, shape) for old, new, shape in done.moved]


def test_training_state_is_left_out_and_named(model):
    done = to_mmdet({'model': model, 'optimizer': {}, 'iteration': 9})
    assert 'left out: optimizer, iteration' in done.notes
    assert set(done.checkpoint) == {'meta', 'state_dict'}
    back = to_detectron2(dict(done.checkpoint, message_hub={}))
    assert back.notes[-1] == 'left out: message_hub'
    done.checkpoint['meta']['epoch'] = 3
    back = to_detectron2(done.checkpoint)
    assert back.notes[-1] == 'left out: meta'


CONVERTERS = pytest.mark.parametrize('convert, key', [
    (to_mmdet, 'model'),
    (to_detectron2, 'state_dict'),
])


@pytest.fixture
def states(model):
    return {to_mmdet: model, to_detectron2: to_mmdet(model)[0]['state_dict']}


@CONVERTERS
def test_missing_and_unknown_tensors_are_listed(states, convert, key):
    state = states[convert]
    gone = [
        name for name in state
        if 'fpn_output3' in name or 'fpn_convs.1' in name
    ]
    other = {k: v for k, v in state.items() if k not in gone}
    other['roi_heads.sem_seg_head.weight'] = torch.zeros(3)
    with pytest.raises(ValueError) as caught:
        convert({key: other})
    assert len(gone) == 2
    assert str(caught.value).splitlines()[1:] == [
        *(f'  missing: {name}' for name in gone),
        '  unknown: roi_heads.sem_seg_head.weight'
    ]


@CONVERTERS
def test_the_wrong_direction_is_recognised(states, convert, key):
    other = to_detectron2 if convert is to_mmdet else to_mmdet
    with pytest.raises(ValueError, match='convert the other way round'):
        convert({key: states[other]})


@CONVERTERS
def test_wrong_shapes_are_refused(states, convert, key):
    state = states[convert]
    name = next(n for n in state if 'lateral' in n)
    with pytest.raises(ValueError, match=f'{name}: expected'):
        convert({key: dict(state, **{name: torch.zeros(2, 3)})})


@CONVERTERS
def test_heads_that_disagree_are_refused(convert, key):
    model = make_model(scores=60, boxes=60, masks=60)
    other = make_model(scores=60, boxes=60, masks=59)
    if convert is to_detectron2:
        model = to_mmdet(model).checkpoint['state_dict']
        other = to_mmdet(make_model(scores=59, boxes=59,
                                    masks=59)).checkpoint['state_dict']
    last = [n for n in model if 'predictor' in n or 'conv_logits' in n][-2:]
    with pytest.raises(ValueError, match='60 boxes and 59 masks'):
        convert({key: dict(model, **{n: other[n] for n in last})})


@CONVERTERS
@pytest.mark.parametrize('wrong', [[1], None, 'model'])
def test_what_is_no_checkpoint_is_refused(convert, key, wrong):
    with pytest.raises(TypeError, match='expected'):
        convert(wrong)
    with pytest.raises(TypeError, match=f'tensors in "{key}"'):
        convert({key: wrong})

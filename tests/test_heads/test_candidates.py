"""best_candidates: against sorting everything."""
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.heads import candidates
from eql_mmdet.heads.candidates import best_candidates, mask_rows_


def sort_everything(scores, threshold):
    """Indices of all candidates, by score and index, in plain Python."""
    flat = scores.flatten().tolist()
    valid = [i for i, score in enumerate(flat) if score > threshold]
    return sorted(valid, key=lambda i: (-flat[i], i))


@st.composite
def score_matrices(draw):
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 150))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    scores = torch.rand(rows, columns + 1, generator=generator)
    levels = draw(st.sampled_from([1, 3, 50, 10**6]))
    scores = (scores * levels).round() / levels
    for value in (torch.nan, torch.inf, -torch.inf):
        if draw(st.booleans()):
            scores[torch.rand(scores.shape, generator=generator) <
                   0.05] = value
    if draw(st.booleans()):
        scores[0] = torch.nan
    return scores[:, :-1]


@settings(deadline=None, max_examples=200)
@given(
    scores=score_matrices(),
    threshold=st.sampled_from([-1., 0., 0.5, 1.]),
    number=st.sampled_from([1, 2, 7, 100, 5000]),
    group=st.sampled_from([1, 2, 16, 64]))
def test_candidates_are_the_beginning_of_the_sorted_scores(
        scores, threshold, number, group):
    with mock.patch.object(candidates, 'GROUP', group):
        index, complete = best_candidates(scores, threshold, number)
    wanted = sort_everything(scores, threshold)
    assert index.tolist() == wanted[:len(index)]
    if complete:
        assert len(index) == len(wanted)
    else:
        assert len(index) >= number
        flat = scores.flatten()
        outside = flat[wanted[len(index):]]
        assert (outside < flat[index[-1]]).all()


def test_only_groups_that_can_count_are_opened():
    scores = torch.zeros(50, 640)
    scores[3, 5], scores[40, 600] = 0.9, 0.8
    values, index = candidates._open_groups(scores, 2)
    assert len(values) == len(index) == 2 * 64


def test_all_scores_equal_are_all_taken():
    index, complete = best_candidates(torch.full((20, 100), 0.5), 0.1, 7)
    assert index.tolist() == list(range(2000))
    assert not complete


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_ranked_as_it_is(dtype):
    if dtype == torch.float16 and torch.__version__ < '2.3':
        pytest.skip('older torch has no topk of float16 on a CPU')
    scores = torch.rand(
        9, 130, generator=torch.Generator().manual_seed(0)).to(dtype)
    index, _ = best_candidates(scores, 0.25, 40)
    assert index.tolist() == sort_everything(scores, 0.25)[:len(index)]


def test_no_rows_give_no_candidates():
    index, complete = best_candidates(torch.zeros(0, 100), 0., 5)
    assert index.shape == (0, ) and index.dtype == torch.int64 and complete


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_rows_with_anything_not_finite_are_no_candidates(dtype):
    # In float16 a sum of these would overflow by itself.
    scores, deltas = torch.rand(6, 5), torch.full((6, 40), 6e4)
    scores, deltas = scores.to(dtype), deltas.to(dtype)
    scores[1, 4], deltas[2, 39] = torch.nan, torch.inf
    deltas[4, 1], deltas[4, 2] = torch.inf, -torch.inf
    masked = scores.clone()
    usable = mask_rows_(masked, deltas)
    assert usable.tolist() == [True, False, False, True, False, True]
    assert torch.equal(masked[usable], scores[usable])
    assert not (masked[~usable] >= -torch.finfo(dtype).max).any()


def test_masking_rows_waits_for_no_device():
    """Whatever has to know a value cannot run on the meta device."""
    scores = torch.rand(3, 4, device='meta')
    usable = mask_rows_(scores, torch.rand(3, 16, device='meta'))
    assert usable.is_meta and usable.shape == (3, )

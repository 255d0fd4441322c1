"""A test run beside that of the authors' code: a row a comparison.

The tolerances are in README.md; ``factor`` widens the one within which boxes
are partners.
"""
import numpy as np
import oracle_rules as rules
import pycocotools.mask as mask_utils
import torch
from oracle_compare import (BOX, Row, at, difference, different, max_of,
                            on_cpu, pair, pair_rows)

STAGES = ('res2', 'res3', 'res4', 'res5')
LEVELS = ('p2', 'p3', 'p4', 'p5', 'p6')


def input_rows(tensor, recorded):
    tensor = on_cpu(tensor)
    yield Row('input: shape', 'different',
              different(tensor.shape, recorded['tensor_shape']), 0)
    yield Row('input: checksum', 'different',
              different(rules.crc(tensor), recorded['tensor_crc32']), 0)


def feature_rows(seen, recorded):
    for names, features, allowed in ((STAGES, seen.stages, 1e-4),
                                     (LEVELS, seen.levels, 3e-5)):
        for name, feature in zip(names, features):
            found = at(feature, recorded[f'feat_{name}_idx'])
            yield Row(f'features {name}', 'value',
                      difference(found, recorded[f'feat_{name}_val']), allowed)


@torch.no_grad()
def rpn_output_rows(model, seen, recorded):
    return [
        Row(
            f'RPN: {what}', 'value',
            max_of(
                difference(
                    at(tensor, recorded[f'rpn{level}_{kind}_idx']),
                    recorded[f'rpn{level}_{kind}_val'])
                for level, tensor in enumerate(tensors)), 3e-5)
        for kind, what, tensors in zip(('obj', 'delta'), (
            'logits', 'deltas'), model.rpn_head(seen.levels))
    ]


def pair_proposals(found, recorded, factor=1):
    boxes, theirs = on_cpu(found.proposals.bboxes), recorded['proposal_boxes']
    nothing, theirs_too = np.zeros(len(boxes)), np.zeros(len(theirs))
    return pair(boxes, nothing, theirs, theirs_too, BOX * factor)


def proposal_rows(found, recorded, factor=1):
    rows, there = pairs = pair_proposals(found, recorded, factor)
    yield from pair_rows('proposals', on_cpu(found.proposals.bboxes),
                         recorded['proposal_boxes'], pairs)
    logits = torch.from_numpy(recorded['proposal_objectness'][there])
    yield Row(
        'proposals: scores', 'value',
        difference(on_cpu(found.proposals.scores)[rows], logits.sigmoid()),
        3e-5)


def box_output_rows(found, shared, recorded, factor=1):
    """Compare logits and deltas of the proposals that have a partner."""
    rows, there = pair_proposals(found, shared, factor)
    for kind in ('logits', 'deltas'):
        output = on_cpu(getattr(found, kind))
        whole = np.full((1000, output.shape[1]), np.nan, np.float32)
        whole[there] = output[rows]
        chosen = np.isin(recorded[f'{kind}_rows'], there)
        if chosen.any() or not len(there):  # of deltas there is one row
            yield Row(
                f'{kind}: whole rows', 'value',
                difference(whole[recorded[f'{kind}_rows'][chosen]],
                           recorded[f'{kind}_rows_val'][chosen]), 5e-5)
        # Of thousands of numbers, whose errors do not all have one sign.
        yield Row(
            f'{kind}: sums of rows', 'value',
            difference(
                whole.sum(1, dtype=float)[there],
                recorded[f'{kind}_rowsum'][there]), 5e-3)
    logits = on_cpu(found.logits)[rows, :1230]
    largest, best = logits.max(1), recorded['logits_argmax'][there]
    yield Row('logits: largest', 'value',
              difference(largest, recorded['logits_rowmax'][there]), 5e-5)
    yield Row('logits: of the best category', 'value',
              difference(logits[np.arange(len(best)), best], largest), 5e-5)


def pair_detections(found, recorded, number, factor=1):
    return pair(
        on_cpu(found.bboxes), on_cpu(found.labels),
        recorded['final_boxes'][:number], recorded['final_classes'][:number],
        BOX * factor)


def detection_rows(found, recorded, factor=1):
    """Compare the detections; only those of one label are paired."""
    rows, there = pairs = pair_detections(found, recorded, 300, factor)
    yield from pair_rows('detections', on_cpu(found.bboxes),
                         recorded['final_boxes'], pairs)
    yield Row(
        'detections: scores', 'value',
        difference(
            on_cpu(found.scores)[rows], recorded['final_scores'][there]), 3e-6)


def mask_rows(found, recorded, number, factor=1):
    """Compare the masks of the best detections."""
    rows, there = pair_detections(found, recorded, number, factor)
    masks = on_cpu(found.masks)[rows]
    yield Row(f'masks of the best {number}', 'unpaired',
              float(number - len(rows)), number // 100)
    yield Row(
        'masks: areas', 'pixels',
        difference(
            masks.sum((1, 2), dtype=int), recorded['final_mask_area'][there]),
        5)
    counts = recorded['final_mask_rle_counts']
    wrong = [(mask != mask_utils.decode(
        dict(size=list(mask.shape), counts=bytes(counts[row])))).sum()
             for mask, row in zip(masks, there) if row < len(counts)]
    yield Row('masks: pixels', 'pixels', difference(wrong,
                                                    np.zeros(len(wrong))), 5)

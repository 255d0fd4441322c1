"""A training step beside that of the authors' code: a row a comparison.

The tolerances are in README.md. Losses and gradients are held to those of a
float64 run.
"""
import numpy as np
import torch
from oracle_compare import (Row, at, difference, different, max_of, of_largest,
                            on_cpu, relative)
from oracle_runs import label_anchors, list_anchors, rpn_losses

#: The authors' names of the losses, and the host's. They take the column of
#: the last category for background in the box loss, which is not copied
#: (docs/recipe.md, 8): what counts is their loss with that column.
LOSSES = {
    'loss_cls': 'loss_cls',
    'loss_box_reg_all': 'loss_bbox',
    'loss_mask': 'loss_mask'
}
BIAS = 'roi_heads.box_predictor.cls_score.bias'


def anchor_rows(model, seen, recorded):
    """Compare the anchors and their labels before sampling."""
    anchors = list_anchors(model, seen)
    found = on_cpu(torch.cat(anchors))
    labels = on_cpu(label_anchors(model, seen, anchors))
    yield Row(
        'RPN: anchors of a level', 'different',
        different([len(a) for a in anchors], recorded['anchors_per_level']), 0)
    yield Row(
        'RPN: anchors', 'px',
        difference(found[recorded['anchor_idx']], recorded['anchor_val']),
        1e-4)
    yield Row('RPN: labels of anchors', 'different',
              different(labels, recorded_labels(recorded)), 0)


def recorded_labels(recorded):
    """List the labels that anchors have in the record."""
    labels = np.zeros(recorded['anchors_per_level'].sum(), np.int8)
    labels[recorded['positive_index']] = 1
    labels[recorded['ignored_index']] = -1
    return labels


def rpn_loss_rows(model, seen, recorded):
    """The authors divide by 256, this by the anchors sampled: both 256."""
    losses = rpn_losses(model, seen)
    used = (recorded_labels(recorded) >= 0).sum()
    for theirs, ours in (('loss_rpn_cls', 'loss_rpn_cls'), ('loss_rpn_loc',
                                                            'loss_rpn_bbox')):
        wanted = recorded[f'{theirs}_f64'] * 256 / used
        yield Row(f'RPN: {ours}', 'relative',
                  relative(sum(losses[ours]).item(), wanted), 2e-6)


def object_rows(seen, recorded):
    """Compare the objects after resizing."""
    objects = seen.samples[0].gt_instances
    yield Row('objects: boxes', 'px',
              difference(on_cpu(objects.bboxes), recorded['gt_boxes']), 1e-4)
    yield Row('objects: labels', 'different',
              different(on_cpu(objects.labels), recorded['gt_classes_of_gt']),
              0)


def target_rows(step, recorded):
    """Compare what is learnt from the 64 proposals."""
    labels = recorded['gt_classes'][recorded['row_proposal']]
    yield Row('RoIs: labels', 'different',
              different(on_cpu(step.cls[1]), labels), 0)
    yield Row('RoIs: box targets', 'value',
              difference(on_cpu(step.box[1]), recorded['box_targets_fg']),
              1e-4)
    yield Row(
        'RoIs: labels of masks', 'different',
        different(
            on_cpu(step.mask[2]),
            recorded['gt_classes'][recorded['fg_index']]), 0)
    yield Row(
        'RoIs: mask targets', 'different',
        different(
            on_cpu(step.mask[1].flatten(1)),
            np.unpackbits(recorded['mask_targets28'], axis=1)), 0)


def output_rows(step, shared, recorded):
    """Compare the outputs for the 64 proposals."""
    found = on_cpu(step.cls[0])
    logits = np.empty_like(found)
    logits[shared['row_proposal']] = found
    labels = on_cpu(step.mask[2])
    masks = on_cpu(step.mask[0])[np.arange(len(labels)), labels]
    yield Row(
        'RoIs: logits', 'value',
        difference(logits[recorded['logits_rows']],
                   recorded['logits_rows_val']), 5e-5)
    yield Row(
        'RoIs: sums of logits', 'value',
        difference(logits.sum(1, dtype=float), recorded['logits_rowsum']),
        5e-3)
    yield Row('RoIs: deltas', 'value',
              difference(on_cpu(step.box[0]), shared['deltas_gt_class']), 5e-5)
    yield Row('RoIs: means of mask logits', 'value',
              difference(masks.mean((1, 2)), shared['mask_logits_mean']), 5e-5)


def loss_row(step, recorded, loss):
    """Compare a loss with that of a float64 run."""
    ours = LOSSES[loss]
    return Row(f'RoIs: {ours}', 'relative',
               relative(step.losses[ours].item(), recorded[f'{loss}_f64']),
               2e-6)


def gradient_rows(gradients, names, recorded, loss):
    """Compare gradients, by ``names``, with those of a float64 run."""
    ours = LOSSES[loss]
    values = [
        None if gradients[n] is None else on_cpu(gradients[n]) for n in names
    ]
    norms = [
        0. if v is None else np.linalg.norm(v.ravel().astype(float))
        for v in values
    ]
    yield Row(f'{ours}: norms of gradients', 'relative',
              relative(norms, recorded[f'gradnorm_f64_{loss}']), 5e-5)
    sampled = [n for n in names if f'grad_idx_{loss}_{n}' in recorded]
    yield Row(
        f'{ours}: gradients', 'of largest',
        max_of(
            of_largest(
                at(gradients[n], recorded[f'grad_idx_{loss}_{n}']),
                recorded[f'grad_f64_{loss}_{n}']) for n in sampled), 5e-4)


def bias_row(gradients, recorded):
    """Compare how every category is pushed."""
    return Row(
        'loss_cls: gradient of every bias', 'of largest',
        of_largest(on_cpu(gradients[BIAS]), recorded['grad_cls_score_bias']),
        5e-4)

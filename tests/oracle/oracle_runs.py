"""What a model makes of the authors' image, on the device where it lies."""
import contextlib
from copy import deepcopy
from types import SimpleNamespace

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox2roi
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData

from eql_mmdet.checkpoints.detectron2_layout import list_entries

FEATURES = ('p2', 'p3', 'p4', 'p5')


@torch.no_grad()
def see(model, sample, training=False):
    """Take a sample to the features."""
    batch = model.data_preprocessor(pseudo_collate([sample]), training)
    stages = model.backbone(batch['inputs'])
    return SimpleNamespace(
        tensor=batch['inputs'],
        samples=batch['data_samples'],
        stages=stages,
        levels=model.neck(stages))


@torch.no_grad()
def detect(model, seen):
    """Run the heads on the features of the image."""
    proposals, = model.rpn_head.predict(
        seen.levels, seen.samples, rescale=False)
    rois = bbox2roi([proposals.bboxes])
    outputs = model.roi_head._bbox_forward(seen.levels, rois)
    metas = [sample.metainfo for sample in seen.samples]

    def boxes(rescale):
        result, = model.roi_head.bbox_head.predict_by_feat(
            (rois, ), (outputs['cls_score'], ), (outputs['bbox_pred'], ),
            metas, model.test_cfg.rcnn, rescale)
        return result

    def masks(number):
        # On boxes in the input's pixels, which it scales in place.
        result, = model.roi_head.predict_mask(
            seen.levels, metas, [boxes(False)[:number]], rescale=True)
        return result

    return SimpleNamespace(
        proposals=proposals,
        logits=outputs['cls_score'],
        deltas=outputs['bbox_pred'],
        boxes=boxes(True),
        masks=torch.no_grad()(masks))


@contextlib.contextmanager
def keep_all(owner, name):
    """Lend a head a sampler that keeps everything and adds nothing."""
    sampler = getattr(owner, name)
    setattr(
        owner, name,
        TASK_UTILS.build(
            dict(
                type='RandomSampler',
                num=40000,
                pos_fraction=1.0,
                neg_pos_ub=-1,
                add_gt_as_proposals=False)))
    try:
        yield
    finally:
        setattr(owner, name, sampler)


@contextlib.contextmanager
def overhear(*modules):
    """Collect what each of these losses is called with, once."""
    calls = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: calls.append(args))
        for module in modules
    ]
    yield calls
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(modules)


def train(model, seen, proposals):
    """Compute the losses on (n, 4) proposals, and what they were given."""
    head = model.roi_head
    levels = [f.detach().clone().requires_grad_() for f in seen.levels]
    boxes = torch.from_numpy(proposals).to(levels[0].device)
    with keep_all(head,
                  'bbox_sampler'), overhear(head.bbox_head.loss_cls,
                                            head.bbox_head.loss_bbox,
                                            head.mask_head.loss_mask) as calls:
        losses = head.loss(levels, [InstanceData(bboxes=boxes)], seen.samples)
    return SimpleNamespace(
        parameters=dict(model.named_parameters()),
        levels=levels,
        losses=losses,
        cls=calls[0],
        box=calls[1],
        mask=calls[2])


def differentiate(step, loss):
    """Differentiate a loss of ``train``; gradients by the authors' names.

    What the loss does not depend on has None.
    """
    wanted = dict(zip(FEATURES, step.levels))
    wanted.update((entry.detectron2, step.parameters[entry.mmdet])
                  for entry in list_entries(50)
                  if entry.mmdet.startswith('roi_head.'))
    values = torch.autograd.grad(
        step.losses[loss],
        list(wanted.values()),
        retain_graph=True,
        allow_unused=True)
    return dict(zip(wanted, values))


def list_anchors(model, seen):
    """List the anchors, (n, 4) a level."""
    sizes = [level.shape[-2:] for level in seen.levels]
    return model.rpn_head.prior_generator.grid_priors(
        sizes, device=seen.levels[0].device)


def label_anchors(model, seen, anchors):
    """Label all anchors: 1, 0, or -1 for ignored."""
    boxes = InstanceData(priors=torch.cat(anchors))
    objects = seen.samples[0].gt_instances
    found = model.rpn_head.assigner.assign(boxes, objects)
    return found.gt_inds.clamp(max=1).to(torch.int8)


@torch.no_grad()
def rpn_losses(model, seen):
    """Compute the losses over all labelled anchors."""
    samples = deepcopy(seen.samples)
    for sample in samples:  # as the detector does: all are one category
        sample.gt_instances.labels.zero_()
    with keep_all(model.rpn_head, 'sampler'):
        return model.rpn_head.loss(seen.levels, samples)

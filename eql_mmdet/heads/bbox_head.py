"""The box heads: what they start from, and which losses they take."""
from typing import List, Optional

import torch
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from .calibrated_scores import CalibratedScores
from .num_classes import check_num_classes
from .postprocess import TopKPostprocess

CONTRACT_FLAGS = ('custom_cls_channels', 'custom_activation',
                  'custom_accuracy')
CONTRACT_METHODS = ('get_cls_channels', 'get_sigmoid_channels',
                    'get_activation', 'get_accuracy')


@MODELS.register_module()
class LargeVocabBBoxHead(CalibratedScores, TopKPostprocess, ConvFCBBoxHead):
    """The host's box head, with a test time for thousands of categories.

    For any loss that the host's heads take: softmax, Seesaw and others. The
    detections are those of the host, and so are the names of the weights.

    Args:
        num_shared_fcs: Shared FC layers; with 2, the default, it takes the
            place of ``Shared2FCBBoxHead``.
        **kwargs: ``calibration`` of ``CalibratedScores``, for a softmax, and
            the host's ``ConvFCBBoxHead`` arguments.
    """

    def __init__(self, num_shared_fcs: int = 2, **kwargs) -> None:
        check_num_classes(kwargs)
        super().__init__(num_shared_fcs=num_shared_fcs, **kwargs)


@MODELS.register_module()
class EQLBBoxHead(CalibratedScores, TopKPostprocess, ConvFCBBoxHead):
    """Box head for the losses of this package.

    As the host's head (two shared FC layers unless told otherwise), but
    outputs that are sigmoids start from a small prior, the loss hears of
    every batch, and one that would be trained one way and tested another is
    refused.

    Args:
        num_shared_fcs: Shared FC layers; 0 to put convolutions or FC layers
            into the two branches instead.
        prior_prob: Score of every sigmoid before training (pi). The
            classifier's bias starts at -log((1 - pi) / pi), so that
            thousands of untrained categories do not drown the loss. It
            holds whatever ``init_cfg`` says, which replaces the rest of the
            default initialisation. Without effect on a softmax.
        **kwargs: ``calibration`` of ``CalibratedScores``, for a softmax, and
            the host's ``ConvFCBBoxHead`` arguments.

    Raises:
        ValueError: If ``prior_prob`` is not in (0, 1), if the loss does not
            declare all of the contract, or if its sigmoids have no bias
            that could start at the prior.
    """

    def __init__(self,
                 num_shared_fcs: int = 2,
                 prior_prob: float = 0.001,
                 **kwargs) -> None:
        if not 0 < prior_prob < 1:
            raise ValueError(
                f'expected prior_prob in (0, 1), but got {prior_prob}')
        check_num_classes(kwargs)
        super().__init__(num_shared_fcs=num_shared_fcs, **kwargs)
        check_loss_contract(self.loss_cls)
        if self.with_cls and self._sigmoids() != slice(0):
            init = self.init_cfg
            self.init_cfg = [
                *([init] if isinstance(init, dict) else init),
                dict(
                    type='Normal',
                    std=0.01,
                    bias_prob=prior_prob,
                    override=dict(name='fc_cls'))
            ]

    def _sigmoids(self) -> slice:
        """Ask the loss which channels start at the prior; check the bias."""
        channels = self.loss_cls.get_sigmoid_channels(self.num_classes)
        if channels != slice(0) and getattr(self.fc_cls, 'bias', None) is None:
            raise ValueError(
                f'expected a classifier with a bias, since the sigmoids of '
                f'{type(self.loss_cls).__name__} start at a prior, but got '
                f'cls_predictor_cfg={self.cls_predictor_cfg}')
        return channels

    def init_weights(self) -> None:
        """Initialise as in the host, channels of a softmax from zero."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.with_cls and self._sigmoids() != slice(0):
            with torch.no_grad():
                bias = self.fc_cls.bias
                kept = bias[self._sigmoids()].clone()
                bias.zero_()[self._sigmoids()] = kept

    def loss(self,
             cls_score: Optional[Tensor],
             bbox_pred: Optional[Tensor],
             rois: Tensor,
             labels: Tensor,
             label_weights: Tensor,
             bbox_targets: Tensor,
             bbox_weights: Tensor,
             reduction_override: Optional[str] = None) -> dict:
        """Compute the losses; the loss hears of a batch without RoIs too.

        The host does not ask it then, and where losses of several processes
        gather statistics together, all the others would wait for ever.

        Args:
            cls_score: (R, C) logits, or None.
            bbox_pred: (R, 4 K) or (R, 4) box deltas, or None.
            rois: (R, 5) RoIs.
            labels: (R,) int64 in [0, K]; K is background.
            label_weights: (R,) weights.
            bbox_targets: (R, 4) targets.
            bbox_weights: (R, 4) weights.
            reduction_override: As in the host.

        Returns:
            The host's dictionary of losses.
        """
        losses = super().loss(cls_score, bbox_pred, rois, labels,
                              label_weights, bbox_targets, bbox_weights,
                              reduction_override)
        if cls_score is not None and not len(cls_score):
            nothing = self.loss_cls(
                cls_score,
                labels,
                label_weights,
                reduction_override=reduction_override)
            losses.update(
                nothing if isinstance(nothing, dict) else dict(
                    loss_cls=nothing))
        return losses

    def loss_and_target(self,
                        cls_score: Tensor,
                        bbox_pred: Tensor,
                        rois: Tensor,
                        sampling_results: List[SamplingResult],
                        rcnn_train_cfg: ConfigDict,
                        concat: bool = True,
                        reduction_override: Optional[str] = None) -> dict:
        """Compute the losses, with the images' category sets if wanted.

        Args:
            cls_score: (R, K) logits.
            bbox_pred: (R, 4 K) or (R, 4) box deltas.
            rois: (R, 5) RoIs; the first column is the index of the image.
            sampling_results: One per image; with ``verified_labels`` if the
                loss has ``keep_verified``.
            rcnn_train_cfg: ``train_cfg`` of the R-CNN.
            concat: As in the host.
            reduction_override: As in the host.

        Returns:
            ``loss_bbox``, a dictionary of losses, and ``bbox_targets``.

        Raises:
            ValueError: If the loss wants sets that did not arrive.
        """
        by_image = getattr(self.loss_cls, 'keep_verified', False)
        result = super().loss_and_target(None if by_image else cls_score,
                                         bbox_pred, rois, sampling_results,
                                         rcnn_train_cfg, concat,
                                         reduction_override)
        if by_image:
            # The host cannot pass the sets, so it computes the boxes alone.
            labels, weights, *_ = result['bbox_targets']
            verified = verified_mask(sampling_results, self.num_classes)
            result['loss_bbox'].update(
                self.loss_cls.get_accuracy(cls_score, labels),
                loss_cls=self.loss_cls(
                    cls_score,
                    labels,
                    weights,
                    avg_factor=(weights > 0).sum().clamp(min=1),
                    reduction_override=reduction_override,
                    verified=verified.to(rois.device),
                    image_index=rois[:, 0].long()))
        return result


def verified_mask(sampling_results: List[SamplingResult],
                  num_classes: int) -> Tensor:
    """Mark the categories in the positive or negative set of each image.

    Args:
        sampling_results: N results with ``verified_labels``.
        num_classes: K.

    Returns:
        (N, K) bool, on the CPU.

    Raises:
        ValueError: If a result has no ``verified_labels``.
    """
    mask = torch.zeros(len(sampling_results), num_classes, dtype=torch.bool)
    for row, result in zip(mask, sampling_results):
        if not hasattr(result, 'verified_labels'):
            raise ValueError(
                'expected sampling results with verified_labels, since the '
                'loss has keep_verified=True, but there are none; set '
                'type="VerifiedRandomSampler" as the sampler of '
                'train_cfg.rcnn, in a cascade in each stage')
        row[result.verified_labels] = True
    return mask


def check_loss_contract(loss: nn.Module) -> None:
    """Refuse a loss that the host would decode with the wrong activation.

    The host reads three flags from the loss, each in another place, and
    falls back to softmax without a word where one is missing.

    Args:
        loss: The built classification loss.

    Raises:
        ValueError: If a flag or a method is missing.
    """
    name = type(loss).__name__
    missing = [f for f in CONTRACT_FLAGS if not getattr(loss, f, False)]
    missing += [
        m for m in CONTRACT_METHODS if not callable(getattr(loss, m, None))
    ]
    if missing:
        raise ValueError(
            f'EQLBBoxHead expects a loss that declares '
            f'{", ".join(CONTRACT_FLAGS + CONTRACT_METHODS)}, but {name} '
            f'lacks {", ".join(missing)}; use a loss of eql_mmdet, or '
            f'LargeVocabBBoxHead for a softmax loss of the host')

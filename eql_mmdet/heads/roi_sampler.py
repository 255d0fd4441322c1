"""RoI samplers for MMDetection: what the head learns about an image."""
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import RandomSampler, SamplingResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData


@TASK_UTILS.register_module()
class VerifiedRandomSampler(RandomSampler):
    """The host's ``RandomSampler``, which also hands on the image's sets.

    RoI heads give their box head nothing of an image but its sampling
    result. So the labels of its positive and negative category set, which
    ``PackVerifiedInputs`` wrote into ``gt_instances``, travel there, for
    ``EqualizationLoss(keep_verified=True)``. To be set as the ``sampler`` of
    ``train_cfg.rcnn``, in a cascade in each stage; arguments as in the host.
    """

    def sample(self, assign_result: AssignResult, pred_instances: InstanceData,
               gt_instances: InstanceData, **kwargs) -> SamplingResult:
        """Sample RoIs of one image.

        Args:
            assign_result: The assigned ground truth of every prior.
            pred_instances: The priors.
            gt_instances: The ground truth, with ``verified_labels`` as
                metainfo.
            **kwargs: For the host.

        Returns:
            The host's result with ``verified_labels``.

        Raises:
            ValueError: If the ground truth has no ``verified_labels``.
        """
        labels = gt_instances.get('verified_labels')
        if labels is None:
            raise ValueError(
                'VerifiedRandomSampler expects gt_instances with '
                'verified_labels, but there are none; end the training '
                'pipeline with PackVerifiedInputs in place of PackDetInputs')
        result = super().sample(assign_result, pred_instances, gt_instances,
                                **kwargs)
        result.verified_labels = labels
        return result

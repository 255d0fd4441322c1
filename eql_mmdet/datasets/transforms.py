"""Transforms for MMDetection: what of an image reaches the model."""
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackVerifiedInputs(PackDetInputs):
    """Pack an image together with its positive and negative category set.

    The host's ``PackDetInputs``, whose ``gt_instances`` also carry
    ``verified_labels`` as metainfo for ``VerifiedRandomSampler``: the rule
    of Sec. 4.2 of [1]. It is for training pipelines that take one image at
    a time; where images are mixed, the sets would be those of one of them.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def transform(self, results: dict) -> dict:
        """Pack one image.

        Args:
            results: Result of the pipeline, with ``verified_labels``.

        Returns:
            ``inputs`` and ``data_samples`` as in the host.

        Raises:
            ValueError: If the data set gave no ``verified_labels``.
        """
        if 'verified_labels' not in results:
            raise ValueError(
                f'PackVerifiedInputs expects verified_labels, but the data '
                f'set gave none for {results.get("img_path")}; use '
                f'VerifiedLVISV05Dataset, VerifiedLVISV1Dataset or '
                f'LVISFormatDataset, and an annotation file with '
                f'"neg_category_ids" for every image')
        packed = super().transform(results)
        packed['data_samples'].gt_instances.set_metainfo(
            dict(verified_labels=results['verified_labels']))
        return packed

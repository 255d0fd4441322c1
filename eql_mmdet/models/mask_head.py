"""The mask head: as the host's, but it starts near a mask of 0.5."""
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from torch import nn


@MODELS.register_module()
class NormalInitMaskHead(FCNMaskHead):
    """Mask head whose predictor starts from small normal weights, as in [1].

    The host draws the weights of the predictor with a standard deviation of
    sqrt(2 / K), and takes no ``init_cfg``. With a mask of its own for each
    of K categories, most of what it draws is hardly ever trained.

    Args:
        predictor_std: Standard deviation of the predictor's weights, above
            0; 0.001 in [1].
        **kwargs: The host's ``FCNMaskHead`` arguments.

    Raises:
        ValueError: If ``predictor_std`` is not positive.

    [1] Wu et al., Detectron2, 2019,
        https://github.com/facebookresearch/detectron2
    """

    def __init__(self, predictor_std: float, **kwargs) -> None:
        if not predictor_std > 0:
            raise ValueError(f'expected predictor_std (a standard deviation) '
                             f'above 0, but got {predictor_std}')
        super().__init__(**kwargs)
        self.predictor_std = predictor_std

    def init_weights(self) -> None:
        """Initialise as the host does, then the predictor."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=self.predictor_std)

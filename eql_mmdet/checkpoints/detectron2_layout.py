"""The tensors of Mask R-CNN with ResNet and FPN in detectron2 and in mmdet.

The two hold the same tensors under other names. Nothing is transposed,
reordered or scaled, because both

- flatten pooled RoIs as (channel, row, column) before the first FC layer;
- put the background, where there is one, behind the K categories;
- predict boxes as (category, dx dy dw dh), with deltas times 10, 10, 5, 5 in
  detectron2 and divided by 0.1, 0.1, 0.2, 0.2 in mmdet, which is the same;
- number the RPN's channels as (anchor, dx dy dw dh), with one anchor size a
  level and the ratios 0.5, 1, 2 in this order;
- store transposed convolutions as torch does, (in, out, row, column).

Source: https://github.com/facebookresearch/detectron2, ``modeling/backbone``
(``resnet.py``, ``fpn.py``), ``proposal_generator/rpn.py``, ``roi_heads``.
"""
from typing import Dict, Iterator, List, Mapping, NamedTuple, Tuple

#: Depth -> bottlenecks in each of the four stages.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
COUNTER = 'num_batches_tracked'
_NORM = ('weight', 'bias', 'running_mean', 'running_var')
#: A multiple of a width that differs between models, such as 4 'boxes', or
#: of 1 where all are alike.
Size = Tuple[int, str]


class Entry(NamedTuple):
    """One tensor.

    Args:
        detectron2: Its name there.
        mmdet: Its name here.
        shape: Its shape, in widths that ``measure_widths`` finds.
    """
    detectron2: str
    mmdet: str
    shape: Tuple[Size, ...]


def list_entries(depth: int) -> List[Entry]:
    """List every tensor that both models have.

    Batch norm's counters are not among them (see ``list_counters``).

    Args:
        depth: 50 or 101.

    Returns:
        The entries from the stem to the mask head; names on either side are
        unique.

    Raises:
        ValueError: If the depth is another.
    """
    if depth not in BLOCKS:
        raise ValueError(
            f'expected a ResNet of depth {list(BLOCKS)}, but got {depth}')
    return [*_backbone(depth), *_neck(), *_rpn(), *_box_head(), *_mask_head()]


def list_counters(depth: int) -> List[Entry]:
    """List the counters that batch norm has, unless it is detectron2's frozen.

    Args:
        depth: 50 or 101.

    Returns:
        One entry with the shape of a scalar for each batch norm.
    """
    return [
        Entry(*(name.replace('running_var', COUNTER)
                for name in entry[:2]), ()) for entry in list_entries(depth)
        if entry.detectron2.endswith('.norm.running_var')
    ]


def _layer(detectron2: str, mmdet: str, *shape: Size) -> Iterator[Entry]:
    """A convolution or FC layer with a bias, output channels first."""
    yield Entry(f'{detectron2}.weight', f'{mmdet}.weight', shape)
    yield Entry(f'{detectron2}.bias', f'{mmdet}.bias', shape[:1])


def _conv_norm(detectron2: str, conv: str, norm: str, *shape:
               Size) -> Iterator[Entry]:
    """A convolution without bias, and its batch norm."""
    yield Entry(f'{detectron2}.weight', f'{conv}.weight', shape)
    for part in _NORM:
        yield Entry(f'{detectron2}.norm.{part}', f'{norm}.{part}', shape[:1])


def _backbone(depth: int) -> Iterator[Entry]:
    ours, theirs = 'backbone', 'backbone.bottom_up'
    yield from _conv_norm(f'{theirs}.stem.conv1', f'{ours}.conv1',
                          f'{ours}.bn1', (1, 'stem'), (3, ''), *_square(7))
    channels = (1, 'stem')
    for stage, blocks in enumerate(BLOCKS[depth]):
        out = (4 << stage, 'width')
        for block in range(blocks):
            yield from _bottleneck(f'{theirs}.res{stage + 2}.{block}',
                                   f'{ours}.layer{stage + 1}.{block}',
                                   channels, (1 << stage, 'width'), out,
                                   block == 0)
            channels = out


def _bottleneck(theirs: str, ours: str, channels: Size, inner: Size, out: Size,
                shortcut: bool) -> Iterator[Entry]:
    shapes = ((inner, channels, *_square(1)), (inner, inner, *_square(3)),
              (out, inner, *_square(1)))
    for number, shape in enumerate(shapes, 1):
        yield from _conv_norm(f'{theirs}.conv{number}', f'{ours}.conv{number}',
                              f'{ours}.bn{number}', *shape)
    if shortcut:
        yield from _conv_norm(f'{theirs}.shortcut', f'{ours}.downsample.0',
                              f'{ours}.downsample.1', out, channels,
                              *_square(1))


def _neck() -> Iterator[Entry]:
    fpn = (1, 'fpn')
    for level in range(4):
        yield from _layer(f'backbone.fpn_lateral{level + 2}',
                          f'neck.lateral_convs.{level}.conv', fpn,
                          (4 << level, 'width'), *_square(1))
        yield from _layer(f'backbone.fpn_output{level + 2}',
                          f'neck.fpn_convs.{level}.conv', fpn, fpn,
                          *_square(3))


def _rpn() -> Iterator[Entry]:
    theirs, rpn, anchors = 'proposal_generator.rpn_head', (1, 'rpn'), 3
    yield from _layer(f'{theirs}.conv', 'rpn_head.rpn_conv', rpn, (1, 'fpn'),
                      *_square(3))
    yield from _layer(f'{theirs}.objectness_logits', 'rpn_head.rpn_cls',
                      (anchors, ''), rpn, *_square(1))
    yield from _layer(f'{theirs}.anchor_deltas', 'rpn_head.rpn_reg',
                      (4 * anchors, ''), rpn, *_square(1))


def _box_head() -> Iterator[Entry]:
    theirs, ours, fc = 'roi_heads.box', 'roi_head.bbox_head', (1, 'fc')
    yield from _layer(f'{theirs}_head.fc1', f'{ours}.shared_fcs.0', fc,
                      (7 * 7, 'fpn'))
    yield from _layer(f'{theirs}_head.fc2', f'{ours}.shared_fcs.1', fc, fc)
    yield from _layer(f'{theirs}_predictor.cls_score', f'{ours}.fc_cls',
                      (1, 'scores'), fc)
    yield from _layer(f'{theirs}_predictor.bbox_pred', f'{ours}.fc_reg',
                      (4, 'boxes'), fc)


def _mask_head() -> Iterator[Entry]:
    theirs, ours = 'roi_heads.mask_head', 'roi_head.mask_head'
    channels, mask = (1, 'fpn'), (1, 'mask')
    for number in range(4):
        yield from _layer(f'{theirs}.mask_fcn{number + 1}',
                          f'{ours}.convs.{number}.conv', mask, channels,
                          *_square(3))
        channels = mask
    yield from _layer(f'{theirs}.deconv', f'{ours}.upsample', mask, mask,
                      *_square(2))
    yield from _layer(f'{theirs}.predictor', f'{ours}.conv_logits',
                      (1, 'masks'), mask, *_square(1))


def _square(side: int) -> Tuple[Size, Size]:
    return (side, ''), (side, '')


def measure_widths(
        shapes: Mapping[str, Tuple[int, ...]],
        templates: Mapping[str, Tuple[Size, ...]]) -> Dict[str, int]:
    """Find the widths that the shapes follow from, and hold them to it.

    Args:
        shapes: Name -> shape of every tensor of a checkpoint.
        templates: The same names -> shape in terms of widths.

    Returns:
        Width name -> size, each as first met.

    Raises:
        ValueError: If shapes contradict their template or one another; all
            of them are listed.
    """
    widths, wrong = {}, []
    for name, template in templates.items():
        for (times, width), size in zip(template, shapes[name]):
            if width and size > 0 and size % times == 0:
                widths.setdefault(width, size // times)
        expected = tuple(times * widths.get(width, 0) if width else times
                         for times, width in template)
        if tuple(shapes[name]) != expected:
            wrong.append(f'  {name}: expected {expected}, but got '
                         f'{tuple(shapes[name])}')
    if wrong:
        raise ValueError(
            'expected the shapes of Mask R-CNN with ResNet and FPN, 3 anchors '
            'a place, 7x7 boxes and 4 mask convolutions, but these differ '
            '(the first may be the cause of the others; 0 stands for what '
            'could not be told):\n' + '\n'.join(wrong))
    return widths

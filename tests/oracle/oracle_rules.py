"""The image, the annotations and the weights that the authors' code was given.

They follow from rules, and ``summary.json`` and ``weights.json`` have the
checksums of what the records beside this file were made from.
"""
import json
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HEIGHT, WIDTH = 300, 420
#: Category id, colour (RGB) and polygons in quarters of a pixel, painted in
#: this order: a large object, a concave one of the last category, a tiny and
#: a thin one, one in two parts, and a crowd of five.
OBJECTS = (
    (4, (214, 70, 52), ((24.5, 196, 72, 128.25, 168.5, 118, 246, 171.5, 221.25,
                         262, 109, 287.5, 41.5, 262.25), )),
    (1230, (48, 170, 76), ((276, 22.5, 318.5, 22.5, 323, 78, 396.25, 84, 398,
                            128.5, 281.5, 133), )),
    (1, (236, 226, 60), ((201.25, 34, 212, 32.5, 211.5, 42.75, 203, 43.5), )),
    (2, (60, 84, 220), ((28.5, 11.5, 243.75, 13, 243, 18.25, 29, 17), )),
    (40, (172, 56, 190), ((32, 44.5, 71.25, 38, 78, 88.5, 40.5, 97),
                          (88.25, 41, 127, 50.5, 122.5, 92.25, 93, 90))),
    (91, (90, 200, 212), ((262.5, 171, 338, 158.5, 352.5, 268, 331, 282.25,
                           268, 276.5), )),
    (91, (24, 120, 134), ((301.5, 176.5, 377, 169.25, 396.5, 300, 318,
                           300), )),
    (177, (226, 146, 40), ((284.25, 204, 336, 198, 342.5, 257.25, 291,
                            262), )),
    (819, (128, 128, 40), ((329, 152.25, 408.5, 147, 413.25, 231.5, 377, 240,
                            336.5, 233), )),
    (4, (200, 190, 180), ((340.5, 226, 409, 150, 420, 143, 420, 244, 388,
                           249), )),
)  # yapf: disable
#: Of each colour two waves: steps along x and y, and half a period.
WAVES = (((3, 1, 90), (-1, 4, 250)), ((2, -3, 110), (5, 1, 390)),
         ((1, 5, 170), (4, -1, 70)))
NORMS = {'weight': (1., .1), 'bias': (0., .1), 'running_mean': (0., .05)}
#: How much larger than sqrt(2 / fan-in) a weight's deviation is.
GAINS = {
    'fpn_lateral2': .2,
    'fpn_lateral3': .1,
    'fpn_lateral4': .05,
    'fpn_lateral5': .05,
    'objectness_logits': .7,
    'anchor_deltas': .2,
    'bbox_pred': 2.,
}


def crc(array):
    """CRC-32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def paint_image():
    """Paint the (300, 420, 3) uint8 RGB image, in integers alone."""
    row, column = np.indices((HEIGHT, WIDTH))
    colours = np.stack([
        noise + sum(wave(row, column, *numbers) for numbers in waves) + 40
        for noise, waves in zip(smooth_noise(row, column), WAVES)
    ])
    for _, colour, polygons in OBJECTS:
        for polygon in polygons:
            mask = is_inside(polygon, column + 0.5, row + 0.5)
            shade = (colours[:, mask] - 110) // 8
            colours[:, mask] = np.reshape(colour, (3, 1)) + shade
    return colours.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def smooth_noise(row, column):
    """Interpolate (3, ...) noise between random values 20 pixels apart."""
    raw = np.random.PCG64(2020).random_raw(3 * 16 * 22)
    knots = (raw % np.uint64(140)).astype(np.int64).reshape(3, 16, 22)
    (i, down), (j, right) = np.divmod(row, 20), np.divmod(column, 20)

    def along(i):
        return (20 - right) * knots[:, i, j] + right * knots[:, i, j + 1]

    return ((20 - down) * along(i) + down * along(i + 1)) // 400


def wave(row, column, along_x, along_y, half):
    """Rise and fall in parabolas, as a sine does."""
    arch, place = np.divmod(along_x * column + along_y * row, half)
    height = 72 * place * (half - place) // half**2
    return np.where(arch % 2, -height, height)


def is_inside(polygon, x, y):
    """Tell by the even-odd rule which points a polygon holds; exact."""
    odd = np.zeros(x.shape, dtype=bool)
    corners = np.reshape(polygon, (-1, 2))
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        spans = (y0 > y) != (y1 > y)
        odd ^= spans & ((side > 0) == (y1 > y0))
    return odd


def list_annotations():
    """Describe the objects as LVIS v0.5 does."""
    annotations = []
    for number, (category, _, polygons) in enumerate(OBJECTS, 1):
        corners = np.concatenate([np.reshape(p, (-1, 2)) for p in polygons])
        low, high = corners.min(0), corners.max(0)
        annotations.append(
            dict(
                id=number,
                image_id=1,
                category_id=category,
                segmentation=[list(map(float, p)) for p in polygons],
                area=sum(map(area_of, polygons)),
                bbox=[*low.tolist(), *(high - low).tolist()]))
    return annotations


def area_of(polygon):
    """Compute the area of a polygon by the shoelace formula."""
    x, y = np.reshape(polygon, (-1, 2)).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def make_weights(group):
    """Make arrays of the state dict, by detectron2's names, and check each.

    Args:
        group: ``'eql'``, all of that model, or ``'softmax'``, what the other
            has in place of these.

    Returns:
        float32 arrays by name.
    """
    wanted = json.loads((HERE / 'weights.json').read_text())[group]
    arrays = {name: draw_weight(name, s) for name, (s, _) in wanted.items()}
    wrong = [n for n, array in arrays.items() if crc(array) != wanted[n][1]]
    if wrong:
        raise ValueError(f'expected the recorded checksums, but {len(wrong)} '
                         f'of {len(wanted)} arrays differ, first {wrong[0]}')
    return arrays


def draw_weight(name, shape):
    """Draw an array from a generator that is seeded by its name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    normal = generator.standard_normal(int(np.prod(shape))).reshape(shape)
    *_, layer, kind = name.split('.')
    if layer == 'norm':
        return draw_norm(name, kind, normal).astype(np.float32)
    if kind == 'bias':
        mean = {'cls_score': -np.log(.999 / .001), 'fc1': -1., 'fc2': -1.}
        std = 0. if layer == 'cls_score' else .01
        return (mean.get(layer, 0.) + std * normal).astype(np.float32)
    return (weight_std(name, layer, shape) * normal).astype(np.float32)


def draw_norm(name, kind, normal):
    """Make the constants of batch norm, the last of a block's smaller."""
    if kind == 'running_var':
        return np.exp(.2 * normal)
    mean, std = NORMS[kind]
    half = kind == 'weight' and '.conv3.' in name
    return (mean + std * normal) * (.5 if half else 1.)


def weight_std(name, layer, shape):
    """Choose the deviation of a weight."""
    if layer == 'cls_score':
        return .15
    if name.endswith('stem.conv1.weight'):
        return .01 * np.sqrt(2 / 147)
    if layer == 'deconv':
        return np.sqrt(2 / shape[0])
    return np.sqrt(2 / np.prod(shape[1:])) * GAINS.get(layer, 1.)

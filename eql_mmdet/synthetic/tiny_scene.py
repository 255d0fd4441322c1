"""One synthetic picture: textured shapes that hide one another.

Coordinates are pixels from the upper left corner of the picture; the pixel
in row i and column j covers [j, j + 1) x [i, i + 1), as in COCO polygons.
"""
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
import shapely

__all__ = ['COLOURS', 'SHAPES', 'TEXTURES', 'Look', 'draw_scene']

LEAST_VISIBLE = 0.6  # share of an object, that is not hidden nor cut off
LEAST_PART = 4.0  # px^2; smaller leftovers of a hidden object are dropped
MOST_HOLES = 0.05  # share of an object hidden inside its own outline
MOST_COVERED = 0.35  # sum of the objects' areas over that of the picture
SMALLEST = 4.5  # px, square root of an object's area
NUM_TRIES = 20
GRID = 0.01  # px, the precision of the polygons
SUBPIXELS = 4
TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)


class Look(NamedTuple):
    """What tells one category from another; keys of the tables below."""

    colour: str
    texture: str
    shape: str


def _circle() -> np.ndarray:
    return np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


def _drop() -> np.ndarray:
    y = np.sin(TURN) * np.sin(TURN / 2)**1.5
    return np.stack([1.3 * np.cos(TURN), y], axis=1)


def _star() -> np.ndarray:
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, 0.42, 1.0)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _crescent() -> np.ndarray:
    disc = shapely.Point(0, 0).buffer(1, quad_segs=10)
    bite = shapely.Point(0.5, 0).buffer(0.8, quad_segs=10)
    return shapely.get_coordinates(disc.difference(bite))[:-1]


def _heart() -> np.ndarray:
    y = (13 * np.cos(TURN) - 5 * np.cos(2 * TURN) - 2 * np.cos(3 * TURN) -
         np.cos(4 * TURN))
    return np.stack([16 * np.sin(TURN)**3, y], axis=1)


def _unit_area(points: np.ndarray) -> np.ndarray:
    """Scale to area 1 and move the centroid to the origin."""
    polygon = shapely.Polygon(points)
    centre = shapely.get_coordinates(polygon.centroid)
    return (points - centre) / np.sqrt(polygon.area)


def _corners(points: str) -> np.ndarray:
    return _unit_area(
        np.array([point.split(',') for point in points.split()], float))


# The tables begin with what is easiest to tell apart: few categories use only
# the first entries.
SHAPES: Dict[str, np.ndarray] = dict(
    circle=_unit_area(_circle()),
    star=_unit_area(_star()),
    bar=_corners('0,0 4,0 4,1 0,1'),
    triangle=_corners('0,0 2,0 1,1.8'),
    cross=_corners('1,0 2,0 2,1 3,1 3,2 2,2 2,3 1,3 1,2 0,2 0,1 1,1'),
    crescent=_unit_area(_crescent()),
    square=_corners('0,0 1,0 1,1 0,1'),
    heart=_unit_area(_heart()),
    arrow=_corners('0,1 2,1 2,0 4,2 2,4 2,3 0,3'),
    horseshoe=_corners('0,0 1,0 1,2 2,2 2,0 3,0 3,3 0,3'),
    ell=_corners('0,0 1,0 1,2 2.2,2 2.2,3 0,3'),
    hourglass=_corners('0,0 2,0 1.2,1.3 2,2.6 0,2.6 0.8,1.3'),
    bolt=_corners('1,0 3,0 2,1.5 3,1.5 0,4.5 1,2 0,2'),
    drop=_unit_area(_drop()))

LIGHT, DARK, GREY = (242, 238, 224), (34, 34, 44), (104, 112, 136)
# Two tones each; the second one is that of the texture.
COLOURS: Dict[str, Tuple[Tuple[int, int, int], Tuple[int, int, int]]] = dict(
    red=((214, 32, 36), LIGHT),
    blue=((28, 70, 214), LIGHT),
    green=((22, 150, 50), LIGHT),
    yellow=((246, 216, 30), DARK),
    purple=((140, 40, 170), LIGHT),
    white=((246, 246, 246), GREY),
    black=((18, 18, 22), GREY),
    cyan=((50, 210, 222), DARK),
    orange=((248, 138, 20), DARK),
    pink=((250, 130, 190), DARK),
    brown=((112, 66, 28), LIGHT))

# A texture says where the second tone is, given the place on an object of
# area 1 around the origin.
TEXTURES: Dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = dict(
    plain=lambda x, y: np.zeros(x.shape, bool),
    striped=lambda x, y: np.sin(18 * x) > 0.1,
    cored=lambda x, y: np.hypot(x, y) < 0.3,
    halved=lambda x, y: y > 0,
    checked=lambda x, y: np.sin(10 * x) * np.sin(10 * y) > 0,
    ringed=lambda x, y: np.cos(22 * np.hypot(x, y)) > 0.2,
    dotted=lambda x, y: np.cos(18 * x) + np.cos(18 * y) > 0.9,
    gridded=lambda x, y: np.maximum(np.cos(18 * x), np.cos(18 * y)) > 0.8)


class Pose(NamedTuple):
    """Where an object lies: a shape of area 1 becomes pixels."""

    centre: np.ndarray  # (2,) x, y in pixels
    extent: float  # square root of the area, in pixels
    angle: float  # radians

    def axes(self) -> np.ndarray:
        """(2, 2) rows: the object's own axes, in pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.extent * np.array([[cos, sin], [-sin, cos]])

    def outline(self, shape: str) -> np.ndarray:
        """(M, 2) corners in pixels."""
        return SHAPES[shape] @ self.axes() + self.centre


def draw_scene(
    looks: Sequence[Look], size: int, rng: np.random.Generator
) -> Tuple[np.ndarray, List[List[shapely.Polygon]]]:
    """Place objects at random, later ones over earlier ones, and paint them.

    Every object remains visible; where they do not fit they become smaller.

    Args:
        looks: The objects, in any order; larger ones are painted first.
        size: Height and width of the picture in pixels.
        rng: Decides sizes, places, turns, tints, background and noise.

    Returns:
        The picture, (size, size, 3) uint8 RGB, and for each of ``looks`` the
        polygons of its visible parts, without holes, inside the picture.

    Raises:
        ValueError: If the objects are too many for the picture.
    """
    extents = _draw_extents(len(looks), size, rng)
    while True:
        order = np.argsort(-extents, kind='stable')
        shapes = [looks[i].shape for i in order]
        poses, regions = _try_to_place(shapes, extents[order], size, rng)
        if len(poses) == len(looks):
            break
        if extents.max() <= SMALLEST:
            raise ValueError(f'expected fewer objects for a picture of {size} '
                             f'x {size} pixels, got {len(looks)}')
        extents = np.maximum(0.9 * extents, SMALLEST)
    canvas = _draw_background(size, rng)
    for i, pose in zip(order, poses):
        _paint(canvas, looks[i], pose, rng)
    canvas += rng.normal(0, 4, canvas.shape[:2])[..., None]
    parts, owner = _visible_parts(shapely.set_precision(regions, GRID))
    rank = np.argsort(order)
    return (canvas.clip(0, 255).round().astype(np.uint8),
            [list(parts[owner == rank[i]]) for i in range(len(looks))])


def _draw_extents(number: int, size: int,
                  rng: np.random.Generator) -> np.ndarray:
    """Square roots of areas in pixels: log-uniform, now and then one huge."""
    extents = np.exp(rng.uniform(np.log(13), np.log(60), number)) * size / 128
    covered = (extents**2).sum() / size**2
    extents *= min(1, np.sqrt(MOST_COVERED / max(covered, 1e-9)))
    extents = extents.clip(SMALLEST)
    if 0 < number <= 8 and rng.random() < 0.1:
        extents[0] = rng.uniform(98, 110) * size / 128
    return extents


def _try_to_place(shapes: Sequence[str], extents: np.ndarray, size: int,
                  rng: np.random.Generator) -> Tuple[List[Pose], np.ndarray]:
    """Place objects one over another until one finds no place.

    Returns:
        The poses of those placed, and their visible regions.
    """
    frame = shapely.box(0, 0, size, size)
    poses: List[Pose] = []
    regions = np.empty(0, object)
    for shape, extent in zip(shapes, extents):
        margin = min(0.6 * extent, 0.48 * size)
        for _ in range(NUM_TRIES):
            pose = Pose(
                rng.uniform(margin, size - margin, 2), extent,
                rng.uniform(0, 2 * np.pi))
            outline = shapely.Polygon(pose.outline(shape))
            top = shapely.intersection(outline, frame)
            under = shapely.difference(regions, top)
            trial = np.append(under, top)
            if _are_visible(trial, extents[:len(trial)]):
                poses.append(pose)
                regions = trial
                break
        else:
            break
    return poses, regions


def _visible_parts(regions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Split regions into parts without holes.

    Returns:
        The parts, and for each the index of its region.
    """
    parts, owner = shapely.get_parts(regions, return_index=True)
    parts = shapely.polygons(shapely.get_exterior_ring(parts))
    keep = shapely.area(parts) >= LEAST_PART
    return parts[keep], owner[keep]


def _are_visible(regions: np.ndarray, extents: np.ndarray) -> bool:
    parts, owner = _visible_parts(regions)
    filled = np.bincount(owner, shapely.area(parts), len(regions))
    holes = filled - shapely.area(regions)
    seen = (filled > LEAST_VISIBLE * extents**2) & (
        holes < MOST_HOLES * filled)
    return bool(seen.all())


def _draw_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float, a greyish wall with soft blotches."""
    tint = rng.uniform(95, 165) + rng.normal(0, 7, 3)
    blotches = rng.normal(0, 10, (7, 7, 3))
    return tint + cv2.resize(
        blotches, (size, size), interpolation=cv2.INTER_CUBIC)


def _paint(canvas: np.ndarray, look: Look, pose: Pose,
           rng: np.random.Generator) -> None:
    """Paint one object over the canvas, smooth and dark at the edge."""
    outline = pose.outline(look.shape)
    low = np.floor(outline.min(axis=0)).clip(0).astype(int)
    high = np.ceil(outline.max(axis=0)).clip(max=len(canvas)).astype(int)
    cover, edge = _draw_outline(outline - low, *(high - low))
    columns, rows = (np.arange(*ends) + 0.5 for ends in zip(low, high))
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1) - pose.centre
    x, y = np.moveaxis(pixels @ np.linalg.inv(pose.axes()), -1, 0)
    tones = (
        np.array(COLOURS[look.colour]) * rng.uniform(0.85, 1.1) +
        rng.normal(0, 8, 3))
    ink = tones[TEXTURES[look.texture](x, y).astype(int)] * (1 - 0.5 * edge)
    patch = canvas[low[1]:high[1], low[0]:high[0]]
    patch += cover * (ink - patch)


def _draw_outline(corners: np.ndarray, width: int,
                  height: int) -> Tuple[np.ndarray, np.ndarray]:
    """Give the share of every pixel that is inside, and that is on the edge.

    Returns:
        Two arrays, (height, width, 1), in [0, 1].
    """
    # OpenCV counts from the centre of the first pixel, here in 1/16 pixels.
    corners = [((corners * SUBPIXELS - 0.5) * 16).round().astype(np.int32)]
    inside = np.zeros((SUBPIXELS * height, SUBPIXELS * width), np.uint8)
    edge = np.zeros_like(inside)
    cv2.fillPoly(inside, corners, 255, shift=4)
    cv2.polylines(edge, corners, True, 255, 2 * SUBPIXELS, shift=4)
    inside, edge = (
        cv2.resize(
            image, (int(width), int(height)), interpolation=cv2.INTER_AREA)
        for image in (inside, edge))
    return inside[..., None] / 255.0, edge[..., None] / 255.0

"""From file to model input: what the LVIS recipe makes of an image."""
import copy
import json

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.mask import mask_target
from PIL import Image

EDGES = (640, 672, 704, 736, 768, 800)
POLYGON = [10.0, 12.0, 90.5, 20.0, 70.0, 80.25, 15.0, 60.0]


@pytest.fixture
def photo(tmp_path):
    """Write a JPEG; return what the data set says about it."""

    def write(width, height):
        rng = np.random.RandomState(0)
        small = rng.randint(0, 256, (height // 8, width // 8, 3), 'uint8')
        path = tmp_path / 'photo.jpg'
        Image.fromarray(small).resize((width, height)).save(path, quality=80)
        return dict(
            img_path=str(path),
            img_id=1,
            height=height,
            width=width,
            instances=[
                dict(
                    bbox=[10.0, 12.0, 90.5, 80.25],
                    bbox_label=3,
                    ignore_flag=0,
                    mask=[POLYGON])
            ])

    return write


def released_size(width, height, edge):
    """ResizeShortestEdge: shorter side to ``edge``, longer to 1,333."""
    scale = edge / min(width, height)
    new = [width * scale, height * scale]
    if max(new) > 1333:
        new = [side * 1333 / max(new) for side in new]
    return tuple(int(side + 0.5) for side in new)


def released_image(path, size):
    """RGB by PIL, resized by PIL, then turned to BGR."""
    image = Image.open(path).convert('RGB').resize(size, Image.BILINEAR)
    return np.asarray(image)[..., ::-1]


def transform(pipeline, info, flip=0.0, edge=None):
    steps = copy.deepcopy(pipeline)
    for step in steps:
        if step.type == 'RandomFlip':
            step.prob = flip
        if step.type == 'RandomChoiceResize' and edge:
            step.scales = [(1333, edge)]
    return Compose([dict(s, _scope_='mmdet') for s in steps])(info)


SHAPES = [(640, 480), (427, 640), (1000, 300), (1600, 1200), (53, 80)]


@pytest.mark.parametrize('width, height', SHAPES)
@pytest.mark.parametrize('edge', EDGES)
def test_training_images_are_those_of_pil(cfg, photo, width, height, edge):
    info = photo(width, height)
    result = transform(cfg.train_dataloader.dataset.pipeline, info, edge=edge)
    size = released_size(width, height, edge)
    expected = released_image(info['img_path'], size)
    assert np.array_equal(result['inputs'].permute(1, 2, 0), expected)


@pytest.mark.parametrize('width, height', SHAPES)
@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
def test_test_images_are_those_of_pil(cfg, photo, width, height, loader):
    info = photo(width, height)
    result = transform(cfg[loader].dataset.pipeline, info)
    size = released_size(width, height, 800)
    expected = released_image(info['img_path'], size)
    assert np.array_equal(result['inputs'].permute(1, 2, 0), expected)


def test_the_shorter_side_is_one_of_six_at_random(cfg):
    settings, = (
        step for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'RandomChoiceResize')
    resize = Compose([dict(settings, _scope_='mmdet')])
    np.random.seed(0)
    count, trials = dict.fromkeys(EDGES, 0), 150
    for _ in range(trials):
        image = np.zeros((4, 5, 3), 'uint8')
        count[resize(dict(img=image))['img'].shape[0]] += 1
    expected, error = trials / 6, np.sqrt(trials / 6 * 5 / 6)
    assert all(abs(n - expected) < 4 * error for n in count.values()), count


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_boxes_and_polygons_follow_the_image(cfg, photo, flip):
    info = photo(640, 480)
    sample = transform(
        cfg.train_dataloader.dataset.pipeline, info, flip, edge=800)
    width, height = released_size(640, 480, 800)
    x_scale, y_scale = width / 640, height / 480
    polygon = np.array(POLYGON).reshape(-1, 2) * (x_scale, y_scale)
    if flip:
        polygon[:, 0] = width - polygon[:, 0]
    target = sample['data_samples'].gt_instances
    (low_x, low_y), (high_x, high_y) = polygon.min(0), polygon.max(0)
    torch.testing.assert_close(
        target.bboxes.tensor,
        torch.tensor([[low_x, low_y, high_x, high_y]]).float(),
        rtol=1e-5,
        atol=1e-3)
    assert target.labels.tolist() == [3]
    np.testing.assert_allclose(
        target.masks.masks[0][0].reshape(-1, 2), polygon, atol=0.05)


def test_prob_of_the_flip_is_one_half(cfg):
    flip, = (
        step for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'RandomFlip')
    assert dict(flip) == dict(type='RandomFlip', prob=0.5)


def test_mask_targets_are_polygons_drawn_inside_the_proposal(cfg, photo):
    masks = transform(
        cfg.train_dataloader.dataset.pipeline, photo(640, 480),
        edge=800)['data_samples'].gt_instances.masks
    box = np.array([20.3, 30.7, 101.2, 140.9])
    size = cfg.model.train_cfg.rcnn.mask_size
    drawn = masks.masks[0][0].reshape(-1, 2)
    drawn = (drawn - box[:2]) * size / (box[2:] - box[:2])
    expected = mask_utils.decode(
        mask_utils.frPyObjects([drawn.ravel().tolist()], size, size))[..., 0]
    target = mask_target([torch.tensor(box[None]).float()],
                         [torch.tensor([0])], [masks],
                         cfg.model.train_cfg.rcnn)
    assert target.shape == (1, 28, 28)
    assert 0.1 < expected.mean() < 0.9
    assert (target[0].numpy() != expected).mean() <= 0.005


def test_images_are_padded_with_zeros_after_the_mean_is_taken(cfg, photo):
    processor = MODELS.build(
        dict(cfg.model.data_preprocessor, _scope_='mmdet'))
    samples = [
        transform(
            cfg.train_dataloader.dataset.pipeline, photo(w, h), edge=640)
        for w, h in [(100, 70), (90, 80)]
    ]
    raw = [sample['inputs'].float() for sample in samples]
    batch = processor(
        dict(
            inputs=[s['inputs'] for s in samples],
            data_samples=[s['data_samples'] for s in samples]),
        training=True)
    assert batch['inputs'].shape == (2, 3, 640, 928)  # 914 up to 29 x 32
    mean = torch.tensor([103.53, 116.28, 123.675])[:, None, None]
    for image, tensor in zip(raw, batch['inputs']):
        height, width = image.shape[1:]
        torch.testing.assert_close(tensor[:, :height, :width], image - mean)
        assert (tensor[:, height:] == 0).all()
        assert (tensor[:, :, width:] == 0).all()


def test_only_images_without_annotations_are_left_out(cfg, tmp_path):
    """Small images stay: the host's configs drop those below 32 pixels."""
    box = dict(bbox=[1, 1, 5, 5], area=25, segmentation=[[1, 1, 6, 1, 6, 6]])
    sizes = [(640, 480), (20, 30), (31, 400), (640, 480)]
    content = dict(
        images=[
            dict(
                id=i + 1,
                width=w,
                height=h,
                file_name=f'{i}.jpg',
                neg_category_ids=[],
                not_exhaustive_category_ids=[])
            for i, (w, h) in enumerate(sizes)
        ],
        categories=[dict(id=c, name=str(c)) for c in (1, 2)],
        annotations=[
            dict(box, id=i, image_id=i, category_id=1) for i in (1, 2, 3)
        ])
    path = tmp_path / 'train.json'
    path.write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(
            cfg.train_dataloader.dataset,
            _scope_='mmdet',
            data_root='',
            ann_file=str(path),
            pipeline=[]))
    assert [dataset.get_data_info(i)['img_id']
            for i in range(len(dataset))] == [1, 2, 3]

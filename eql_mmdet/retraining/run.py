"""From a config and a checkpoint to one with a classifier trained again."""
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

import torch

from .classifier import (Schedule, check_schedule, drawn_images, retrain,
                         save_detector, start_head)
from .detector import (build_dataset, build_detector, build_sampler,
                       feature_settings, load_detector, read_config)
from .pooling import make_layout, pool


class Pooling(NamedTuple):
    """How features are pooled.

    Attributes:
        features: Folder for them; by default ``CHECKPOINT.features``. Used
            again if they are of the same detector and data, and gone on with
            if they are not whole.
        rois_per_image: By default as in training.
        background: The most background RoIs of an image; all by default.
        half: Keep features as float16.
        workers: Processes that load images.
    """
    features: Optional[str] = None
    rois_per_image: Optional[int] = None
    background: Optional[int] = None
    half: bool = False
    workers: int = 0


class Retrained(NamedTuple):
    """What a training came to.

    Attributes:
        left_out: What was not taken from the checkpoint.
        num_rois: RoIs that were trained on.
        loss: The last one that was logged.
        pooling_seconds: Of the features; of kept ones next to nothing.
        training_seconds: Of the head.
    """
    left_out: List[str]
    num_rois: int
    loss: float
    pooling_seconds: float
    training_seconds: float


def retrain_classifier(config: str,
                       checkpoint: str,
                       out: Union[str, Path],
                       options: Optional[Dict[str, Any]] = None,
                       schedule: Schedule = Schedule(),
                       pooling: Pooling = Pooling(),
                       seed: int = 0,
                       device: Optional[str] = None) -> Retrained:
    """Train the box head of a detector again, as the config says.

    Args:
        config: Config file.
        checkpoint: Of the detector, trained with any loss.
        out: Checkpoint to write, for ``tools/test.py``. Never overwritten.
        options: As ``--cfg-options``: dotted key -> value.
        schedule: Of the training.
        pooling: How features are pooled.
        seed: Of the start, the sampler and the loss.
        device: Of torch; a GPU if there is one.

    Returns:
        What it came to.

    Raises:
        FileNotFoundError: If a file is not there.
        FileExistsError: If ``out`` is.
        ValueError: If the device or a number is refused, or the checkpoint
            does not fit the config.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    _check(config, checkpoint, Path(out), device)
    check_schedule(schedule)
    cfg = read_config(config, options, pooling.rois_per_image)
    dataset = build_dataset(cfg)
    model = build_detector(cfg, dataset)
    start_head(model.roi_head.bbox_head, seed)
    left_out = load_detector(model, checkpoint, dataset.metainfo['classes'])
    model.to(device)
    start = time.perf_counter()
    layout = make_layout(
        Path(pooling.features or Path(checkpoint).with_suffix('.features')),
        model, len(dataset), pooling.background, pooling.half)
    features = pool(model, dataset, layout, feature_settings(cfg, checkpoint),
                    pooling.background, pooling.workers)
    pooled = time.perf_counter()
    torch.manual_seed(seed)  # what the loss draws
    images = drawn_images(build_sampler(cfg, dataset, seed))
    loss = retrain(model, features, images, schedule)
    save_detector(
        out, model,
        dict(
            dataset_meta=dataset.metainfo,
            cfg=cfg.pretty_text,
            seed=seed,
            retrained=dict(
                schedule._asdict(),
                checkpoint=Path(checkpoint).name,
                background=pooling.background,
                half=pooling.half)))
    return Retrained(left_out, len(features.rois), loss, pooled - start,
                     time.perf_counter() - pooled)


def _check(config: str, checkpoint: str, out: Path, device: str) -> None:
    """Refuse what would be noticed only after hours of work."""
    for name, path in dict(config=config, checkpoint=checkpoint).items():
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'expected {name} to be a file, but there is no "{path}"')
    if out.exists():
        raise FileExistsError(f'"{out}" is already there; remove it or choose '
                              f'another with --out')
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f'expected a device of torch, but got "{device}"') from error

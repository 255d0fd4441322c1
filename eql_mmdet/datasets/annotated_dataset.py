"""What data sets on the one reader share: records made when asked for."""
import os.path as osp
from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmengine.dataset import force_full_init

from ..annotations.findings import list_findings
from ..annotations.masks import NONE, RLE
from ..annotations.training import check_left, training_view
from ..host.logs import warn_each
from .files import load_annotations, missing_files
from .records import Records


class AnnotatedDataset(BaseDetDataset):
    """A data set whose file is read once a process, and never copied.

    The host's data sets make a dictionary of every image and object and keep
    all of them pickled; here columns are kept, and a dictionary is made when
    an image is asked for. It is what the host's ``CocoDataset`` would give.

    Classes are those of the file, in its order, or those of ``metainfo``: a
    part of them, in any order. Before training it says what will not be
    trained, and stops if nothing is left.

    Args:
        *args: As for the host's ``BaseDetDataset``.
        **kwargs: The same. ``proposal_file`` is not known here, and
            ``serialize_data`` decides nothing.

    Raises:
        TypeError: If ``classes`` is not a sequence of names.
        ValueError: If the file is refused, lacks a class, leaves nothing to
            train on, or names images that are not there.
    """

    METAINFO = dict(classes=None, palette=None)
    #: Nothing is pickled: workers share the columns as they are.
    serialize_data = property(lambda self: False, lambda self, value: None)

    @property
    def metainfo(self) -> dict:
        """Classes and more; a lazy data set asks its file, if there is one."""
        if self._metainfo.get('classes') is None and osp.isfile(self.ann_file):
            annotations = load_annotations(self.ann_file, self.backend_args)
            self._metainfo['classes'] = annotations.names
        return super().metainfo

    def load_data_list(self) -> Records:
        """Read the annotation file and take the classes from it.

        Returns:
            All images in the order of the file.
        """
        if self.proposal_file is not None:
            raise ValueError(f'{type(self).__name__} has no proposals, but '
                             f'got proposal_file="{self.proposal_file}"; use '
                             f'a data set of the host')
        self.annotations = load_annotations(self.ann_file, self.backend_args)
        self.use_classes(self._metainfo.get('classes'))
        return Records(self, np.arange(self.annotations.count))

    def use_classes(self, classes: Optional[Iterable[str]]) -> None:
        """Number the labels in the order of these names.

        Args:
            classes: Names of the file; None for all in its order.

        Raises:
            TypeError: If they are not a sequence of names.
            ValueError: If the file lacks one.
        """
        label_map = self.annotations.label_map(classes)
        self._label_map = label_map
        self._view = training_view(self.annotations, label_map,
                                   self._load_options('with_mask'))
        order = np.argsort(label_map, kind='stable')[(label_map < 0).sum():]
        chosen = [self.annotations.categories[k] for k in order]
        self._metainfo['classes'] = tuple(c.name for c in chosen)
        self.cat_ids = [c.id for c in chosen]
        self.cat2label = {id_: k for k, id_ in enumerate(self.cat_ids)}

    def filter_data(self) -> Records:
        """Leave out images as the host does, and say what is lost.

        Returns:
            The images that are left.
        """
        records = self.data_list
        if not self.test_mode:
            self._check_training()
            if self.filter_cfg is not None:
                records = records.take(self._passes_filter())
                self._check_filtered(records.positions)
        self._check_files(records.positions)
        return records

    def _passes_filter(self) -> np.ndarray:
        sizes = self.annotations.sizes
        kept = sizes.min(axis=1) >= self.filter_cfg.get('min_size', 0)
        if self.filter_cfg.get('filter_empty_gt', False):
            # As in the host, whatever of the annotation is trained.
            chosen = self.annotations.image[self._view.labels >= 0]
            kept &= np.bincount(chosen, minlength=len(kept)) > 0
        return kept

    def _check_filtered(self, positions: np.ndarray) -> None:
        left = np.isin(self.annotations.image, positions)
        if not self._view.is_trained[left].any():
            raise ValueError(
                f'{self.annotations.path}: no image with an object to train '
                f'on is left by filter_cfg={dict(self.filter_cfg)} '
                f'({len(positions)} of {self.annotations.count} images '
                f'pass it); lower min_size')

    def _check_training(self) -> None:
        annotations, view = self.annotations, self._view
        if annotations.is_test_set:
            raise ValueError(f'{annotations.path} has no "annotations": it '
                             f'is a test set, which cannot be trained on; '
                             f'give the file of the training set')
        check_left(annotations, view)
        findings = annotations.findings + view.findings
        warn_each(list_findings(annotations.path, findings))
        if self._load_options('with_mask'):
            self._check_polygons()

    def _check_polygons(self) -> None:
        if self._load_options('poly2mask'):
            return
        rle = self._view.is_trained & (self.annotations.mask_kinds == RLE)
        if rle.any():
            raise ValueError(
                f'{self.annotations.path}: {rle.sum()} of '
                f'{self._view.is_trained.sum()} objects have RLE masks '
                f'(first: {self.annotations.place(int(np.argmax(rle)))}), '
                f'which the host ignores with poly2mask=False; set '
                f'poly2mask=True in LoadAnnotations of the training pipeline')

    def _load_options(self, name: str) -> bool:
        """Look whether a transform of the pipeline has an option set."""
        return any(
            getattr(transform, name, False)
            for transform in self.pipeline.transforms
            if hasattr(transform, 'with_mask'))

    def _check_files(self, positions: np.ndarray) -> None:
        """Look for the images, if they will be read from the disk."""
        names = [self._file_name(i) for i in positions.tolist()]
        first = next(iter(self.pipeline.transforms), None)
        if (type(first).__name__ != 'LoadImageFromFile'
                or getattr(first, 'backend_args', None) is not None):
            return
        folder = self.data_prefix.get('img') or ''
        if '://' in folder:
            return
        missing = missing_files(folder, names)
        if missing:
            raise ValueError(
                f'{self.annotations.path}: {len(missing)} of {len(names)} '
                f'images are not in "{folder}" (first: '
                f'images[{positions[missing[0]]}].file_name is '
                f'"{names[missing[0]]}"); check data_root and '
                f'data_prefix=dict(img=...)')

    def _file_name(self, position: int) -> str:
        name = self.annotations.images[position].file_name
        if name is None:
            raise ValueError(
                f'{self.annotations.path}: images[{position}].file_name is '
                f'missing; name the file below data_prefix=dict(img=...)')
        return name

    def describe(self, position: int) -> dict:
        """Say of an image what the host's ``parse_data_info`` says.

        Args:
            position: Of the image in the annotation file.

        Returns:
            ``img_path``, ``img_id``, ``height``, ``width``, ``instances``
            and what else the host's pipeline expects.
        """
        image = self.annotations.images[position]
        info = dict(
            img_path=osp.join(
                self.data_prefix.get('img') or '', self._file_name(position)),
            img_id=image.id,
            seg_map_path=self._seg_map(position),
            height=image.height,
            width=image.width)
        if self.return_classes:
            info.update(
                text=self.metainfo['classes'],
                caption_prompt=self.caption_prompt,
                custom_entities=True)
        objects = self.annotations.objects_of(position)
        info['instances'] = self._instances(objects)
        info.update(self._extra_info(position, objects))
        return info

    def _seg_map(self, position: int) -> Optional[str]:
        folder = self.data_prefix.get('seg')
        if not folder:
            return None
        stem = osp.splitext(self._file_name(position))[0]
        return osp.join(folder, stem + self.seg_map_suffix)

    def _extra_info(self, position: int, objects: np.ndarray) -> dict:
        """Add what a format has besides; nothing here."""
        return {}

    def _instances(self, objects: np.ndarray) -> List[dict]:
        annotations, view = self.annotations, self._view
        objects = objects[view.is_kept[objects]]
        boxes = annotations.boxes[objects]
        boxes[:, 2:] += boxes[:, :2]
        instances = []
        for index, box, label, crowd, kind in zip(
                objects.tolist(), boxes.tolist(),
                view.labels[objects].tolist(),
                annotations.is_crowd[objects].tolist(),
                annotations.mask_kinds[objects].tolist()):
            instance = dict(ignore_flag=int(crowd), bbox=box, bbox_label=label)
            # An empty list is what the host's pipeline leaves alone.
            instance['mask'] = [] if kind == NONE else annotations.load_mask(
                index)
            instances.append(instance)
        return instances

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Get an image as the host's data sets do.

        Args:
            idx: Of the image in the data set.

        Returns:
            The dictionary of ``describe``, with ``sample_idx``.
        """
        info = self.describe(int(self.data_list.positions[idx]))
        info['sample_idx'] = idx if idx >= 0 else len(self) + idx
        return info

    @force_full_init
    def image_size(self, idx: int) -> Tuple[int, int]:
        """Tell the width and height of an image, in pixels.

        Args:
            idx: Of the image in the data set.
        """
        image = self.annotations.images[int(self.data_list.positions[idx])]
        return image.width, image.height

    @force_full_init
    def get_cat_ids(self, idx: int) -> List[int]:
        """List the labels that are trained in an image.

        Args:
            idx: Of the image in the data set.

        Returns:
            Labels, one an object; of what is left alone there is none.
        """
        objects = self.annotations.objects_of(
            int(self.data_list.positions[idx]))
        objects = objects[self._view.is_trained[objects]]
        return self._view.labels[objects].tolist()

    def get_subset(self, indices: Union[Sequence[int],
                                        int]) -> 'AnnotatedDataset':
        """Make a data set of some of the images; see the host.

        Args:
            indices: The first or (negative) last ones, or their indices.

        Returns:
            A data set of its own on the same file.
        """
        subset = super().get_subset(indices)
        subset.data_list = Records(subset, subset.data_list.positions)
        return subset

    def _copy_without_annotation(self, memo: Optional[dict] = None) -> Any:
        # The host's default is one dict for all calls: it takes a new object
        # for one that is gone if it has the same address.
        return super()._copy_without_annotation({} if memo is None else memo)

    def _get_unserialized_subset(
            self, indices: Union[Sequence[int], int]) -> Records:
        if isinstance(indices, int):
            return super()._get_unserialized_subset(indices)
        return self.data_list.take(np.asarray(indices, np.int64))

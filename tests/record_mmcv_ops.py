#!/usr/bin/env python
"""Write what compiled MMCV makes of the cases in ``mmcv_op_cases.py``.

Run once, where MMCV is compiled; ``test_host/test_ops.py`` reads the file
where it is not.
"""
import sys

import eql_mmdet  # noqa: F401

# isort: split

import mmcv
import mmcv._ext
import numpy as np
from mmcv_op_cases import (BATCHED_CASES, NMS_CASES, RECORD, ROI_CASES,
                           SOFT_CASES, run_nms, run_roi)

from eql_mmdet.host.ops import StandIn


def main():
    """Run every case and write the file."""
    if isinstance(mmcv._ext, StandIn):
        sys.exit('MMCV is not compiled here: run "make env MMCV=compiled"')
    found = {'mmcv': np.array(mmcv.__version__)}
    for name in ROI_CASES:
        out, grad = run_roi(name)
        found[name], found[f'{name} grad'] = out.numpy(), grad.numpy()
    for name in (*NMS_CASES, *SOFT_CASES, *BATCHED_CASES):
        dets, index = run_nms(name)
        found[name] = index.numpy().astype(np.int16)
        found[f'{name} scores'] = dets[:, 4].numpy()
    np.savez_compressed(RECORD, **found)
    print(f'{len(found)} arrays, {RECORD.stat().st_size:,} bytes: {RECORD}')


if __name__ == '__main__':
    main()

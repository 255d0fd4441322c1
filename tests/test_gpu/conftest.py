"""The device that is compared with the CPU: a GPU, or a stand-in for one."""
import os

import pytest


@pytest.fixture(scope='session')
def device():
    """``EQL_TEST_DEVICE``: with ``cpu`` all hold, with ``meta`` all fail."""
    import torch
    device = torch.device(os.environ.get('EQL_TEST_DEVICE', 'cuda'))
    if device.type == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a GPU; run by make test-gpu')
    return device

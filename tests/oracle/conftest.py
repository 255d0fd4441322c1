"""The authors' image and weights, and what the configs make of them.

What is expensive is made once: three seconds of weights, two models, and the
features of the image at a size.
"""
import functools

import oracle_models
import oracle_rules
import oracle_runs
import pytest


@pytest.fixture(scope='session')
def records():
    """Read a file of records by its name."""
    return oracle_models.read_records


@pytest.fixture(scope='session')
def data_root(tmp_path_factory):
    """A folder with the image and its annotations as LVIS v0.5."""
    root = tmp_path_factory.mktemp('oracle')
    oracle_models.write_data(root)
    return root


@pytest.fixture(scope='session')
def configs(data_root):
    """Read a config; only the place of the data is another."""
    return functools.lru_cache(None)(
        lambda name: oracle_models.read_config(name, data_root))


@pytest.fixture(scope='session')
def load_sample(configs):
    """Put the image through a pipeline of the EQL config."""
    return lambda training, side: oracle_models.load_sample(
        configs('eql'), training, side)


@pytest.fixture(scope='session')
def weights():
    """The arrays of the EQL model."""
    return oracle_rules.make_weights('eql')


@pytest.fixture(scope='session')
def eql_model(configs, weights):
    return oracle_models.build_model(configs('eql'), weights)


@pytest.fixture(scope='session')
def softmax_model(configs, weights):
    arrays = weights | oracle_rules.make_weights('softmax')
    return oracle_models.build_model(configs('softmax'), arrays)


@pytest.fixture(scope='session')
def models(request):
    """Choose a model by its name; one that fails to build fails once."""
    return lambda name: request.getfixturevalue(f'{name}_model')


@pytest.fixture(scope='session')
def see(models, load_sample):
    """Take the image to the features, with the EQL model.

    The softmax model differs from it in its classifier alone.
    """
    return functools.lru_cache(None)(
        lambda side, training=False: oracle_runs.see(
            models('eql'), load_sample(training, side), training))

"""A tiny data set, tools as a user runs them, servers and processes."""
import functools
import gc
import http.server
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fresh_processes import run_script, run_two_ranks

# Before torch looks for one: a GPU is for the group of tests that names it.
if not os.environ.get('EQL_TEST_DEVICE', 'cpu').startswith('cuda'):
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

ROOT = Path(__file__).parents[1]


def pytest_collectstart():
    """Import the package before what it is for.

    Not with this file: the process that only hands tests to others reads
    that, too, and they would wait for it.
    """
    import eql_mmdet  # noqa: F401


def pytest_collection_modifyitems(items):
    """Begin with what takes long, so that several processes end together."""
    long = ('oracle', 'test_tools')
    items.sort(key=lambda item: item.path.parent.name not in long)


def pytest_collection_finish():
    """Collect garbage of the tests alone.

    With all that was imported it takes 0.3 seconds each time, and the data
    sets of the host ask for it when they are built.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def state():
    """Scope, level of the log and generators, whatever was before a test."""
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    from eql_mmdet.datasets.places import seed_cpu
    seed_cpu(0)
    init_default_scope('mmdet')
    MMLogger.get_current_instance().setLevel('INFO')


@pytest.fixture(scope='session', autouse=True)
def plain_texts_of_configs():
    """Without a layout: that of one config takes yapf a second."""
    with pytest.MonkeyPatch.context() as patch:
        # onedl-mmengine imports it from there each time.
        for place in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):
            patch.setattr(
                f'{place}.FormatCode',
                lambda text, **_: (text, True),
                raising=False)
        yield


@pytest.fixture(scope='session')
def tiny_root(tmp_path_factory):
    """A folder with ``data/tiny_lvis``: 60 categories, 40 + 24 images."""
    from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis
    root = tmp_path_factory.mktemp('root')
    make_tiny_lvis(
        root / 'data/tiny_lvis',
        num_categories=60,
        num_train=40,
        num_val=24,
        seed=0)
    return root


@pytest.fixture(scope='session')
def softmax_file(tiny_root):
    """A checkpoint of the quick softmax detector, as it is built."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from eql_mmdet.annotations.category_counts import class_names
    cfg = Config.fromfile(ROOT / 'configs/quick/baseline_tiny_lvis.py')
    init_default_scope('mmdet')
    torch.manual_seed(1)
    ann = tiny_root / 'data/tiny_lvis/annotations/tiny_lvis_train.json'
    meta = dict(dataset_meta=dict(classes=class_names(str(ann))))
    path = tiny_root / 'softmax.pth'
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(meta=meta, state_dict=state), path)
    return path


@pytest.fixture(scope='session')
def run_tool(tmp_path_factory):
    """Run ``tools/NAME`` in a process of its own and return its output."""

    def run(name, *args, cwd, check=True, **env):
        path, args = ROOT / 'tools' / name, [str(arg) for arg in args]
        bin_dir = str(Path(sys.executable).parent)
        env = {**os.environ, 'PATH': f'{bin_dir}:{os.environ["PATH"]}', **env}
        output = tmp_path_factory.mktemp('output') / 'output.txt'
        if path.suffix == '.py':
            status = run_script(path, args, cwd, env, output)
        else:
            with output.open('w') as file:
                status = subprocess.run([path, *args],
                                        cwd=cwd,
                                        env=env,
                                        stdout=file,
                                        stderr=file).returncode
        text = output.read_text()
        if check and status:
            raise AssertionError(f'{name} {args}: {text[-3000:]}')
        return text

    return run


@pytest.fixture(scope='session')
def load_tool():
    """Import ``tools/NAME.py`` as a module."""

    def load(name):
        spec = importlib.util.spec_from_file_location(
            f'tools_{Path(name).name}', ROOT / 'tools' / f'{name}.py')
        tool = importlib.util.module_from_spec(spec)
        # As for a script, its folder comes first; not for longer, since
        # tools/test.py would hide others of that name.
        folder = str((ROOT / 'tools' / name).parent)
        sys.path.insert(0, folder)
        try:
            spec.loader.exec_module(tool)
        finally:
            sys.path.remove(folder)
        return tool

    return load


@pytest.fixture
def demo(load_tool, tmp_path, monkeypatch):
    """The demo on 20 images and one epoch, in a folder of its own."""
    from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis
    tool = load_tool('demo')
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{tool.ROOT / tool.CONFIG}'\n"
                      "train_dataloader = dict(dataset=dict(indices=20))\n"
                      "train_cfg = dict(max_epochs=1)\n")
    monkeypatch.setattr(tool, 'CONFIG', str(config))
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    monkeypatch.setattr(tool, 'PANELS', 2)
    monkeypatch.setattr(
        tool, 'make_tiny_lvis', lambda out, **_: make_tiny_lvis(
            out, num_categories=60, num_train=40, num_val=12, seed=0))
    monkeypatch.chdir(tmp_path)
    return tool


@pytest.fixture(params=['2.1.2', '2.5.1', '2.6.0'])
def version(request, monkeypatch):
    """Load as this version of torch must; a current torch can do both."""
    import torch
    if request.param == '2.6.0' and torch.__version__ < '2.6':
        pytest.skip('this torch cannot load as 2.6 does')
    monkeypatch.setattr(torch, '__version__', request.param)
    if request.param < '2.6':
        monkeypatch.delattr(torch.serialization, 'safe_globals', raising=False)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An address of this machine that serves a folder."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'served'
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):

        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as served:
        thread = threading.Thread(
            target=served.serve_forever, args=(0.01, ), daemon=True)
        thread.start()
        yield folder, f'http://127.0.0.1:{served.server_port}'
        served.shutdown()
        thread.join()


@pytest.fixture
def two_processes(tmp_path, request):
    """Run Python in two processes of gloo; what each calls ``result``."""
    return functools.partial(
        run_two_ranks, folder=tmp_path, test_dir=request.path.parent)

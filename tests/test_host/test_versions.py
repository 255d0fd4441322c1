"""One clear sentence for every way in which the host can be missing."""
import importlib
import sys

import mmcv
import mmengine
import pytest

from eql_mmdet.host import versions as host
from eql_mmdet.host.ops import StandIn


def test_installed_host_is_accepted():
    assert host.check_host() is None


@pytest.mark.parametrize('module, message', [
    ('mmengine', 'cannot import mmengine .*make env'),
    ('mmdet', 'cannot import mmdet .*make env'),
    ('lvis', 'cannot import lvis .*pip install lvis'),
])
def test_missing_module_is_named_with_its_mend(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        host.check_host()


def test_missing_operators_are_made(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.setattr(mmcv, '_ext', None, raising=False)
    assert host.check_host() is None
    assert isinstance(sys.modules['mmcv._ext'], StandIn)


def test_operators_of_another_torch_are_named_with_the_mend(monkeypatch):
    import_module = importlib.import_module

    def undefined(name):
        if name == 'mmcv._ext':
            raise ImportError('_ext.so: undefined symbol')
        return import_module(name)

    monkeypatch.setattr(host.importlib, 'import_module', undefined)
    with pytest.raises(
            ImportError,
            match='undefined symbol.* another torch: run "pip uninstall -y '
            'mmcv-lite; MMCV_WITH_OPS=1 pip install'):
        host.check_host()


@pytest.mark.parametrize('version', ['1.7.2', '2.0.1', '2.4.0'])
def test_unsupported_version_is_named(monkeypatch, version):
    monkeypatch.setattr(mmcv, '__version__', version)
    with pytest.raises(
            ImportError, match=rf'mmcv >= 2.1.0, < 2.4.0, but {version} is'):
        host.check_host()


@pytest.mark.parametrize('version', ['2.1.0', '2.1.0+local', '2.3.6'])
def test_supported_versions_are_accepted(monkeypatch, version):
    monkeypatch.setattr(mmcv, '__version__', version)
    assert host.check_host() is None


def test_version_assertion_of_mmdet_becomes_a_sentence(monkeypatch):
    import_module = importlib.import_module

    def refuse(name):
        assert name != 'mmdet', 'MMCV==2.2.0 is used but incompatible.'
        return import_module(name)

    monkeypatch.setattr(host.importlib, 'import_module', refuse)
    monkeypatch.setattr(
        host, '_version', lambda name: '2.1.0'
        if name in ('mmcv', 'torch') else '0.10.7')
    with pytest.raises(ImportError, match='mmdet .*MMCV==2.2.0 is used'):
        host.check_host()


@pytest.mark.parametrize('version, needed', [('0.10.7', True),
                                             ('0.10.12', False)])
def test_missing_pkg_resources_is_named_where_needed(monkeypatch, version,
                                                     needed):
    monkeypatch.setattr(mmengine, '__version__', version)
    monkeypatch.setattr(host.importlib.util, 'find_spec', lambda name: None)
    if not needed:
        assert host.check_host() is None
        return
    with pytest.raises(ImportError, match="pip install 'setuptools<81'"):
        host.check_host()

"""What every training of this package has, whatever its config says."""
from typing import Any

#: Runs that test only have them too: there they do nothing.
HOOKS = ('RunCheckHook', 'ResumeHook')


def make_resumable(cfg: Any) -> None:
    """Let a training be stopped and resumed without a trace.

    Gives the config the hooks of this package, puts
    ``ResumableBatchSampler`` around its batch sampler and takes
    ``ResumableIterTrainLoop`` for the host's iteration loop. What is already
    there, and loops and loaders of others, stay.

    Args:
        cfg: The config of a runner, changed in place.
    """
    hooks = list(cfg.get('custom_hooks') or [])
    known = [_name(hook) for hook in hooks if isinstance(hook, dict)]
    cfg['custom_hooks'] = hooks + [
        dict(type=name) for name in HOOKS if name not in known
    ]
    loader, loop = cfg.get('train_dataloader'), cfg.get('train_cfg')
    if isinstance(loader, dict) and isinstance(loop, dict):
        _number_batches(loader)
        _find_place(loop)


def _number_batches(loader: dict) -> None:
    batches = loader.get('batch_sampler')
    if batches is None:
        loader['batch_sampler'] = dict(
            type='ResumableBatchSampler',
            drop_last=loader.pop('drop_last', False))
    elif (isinstance(batches, dict)
          and _name(batches) != 'ResumableBatchSampler'):
        loader['batch_sampler'] = dict(
            type='ResumableBatchSampler', batches=batches)


def _find_place(loop: dict) -> None:
    by_iter = loop.get('by_epoch', True) is False
    if by_iter or _name(loop) == 'IterBasedTrainLoop':
        loop.pop('by_epoch', None)
        loop['type'] = 'ResumableIterTrainLoop'


def _name(settings: dict) -> str:
    """Take the name of a type without its scope."""
    kind = settings.get('type') or ''
    return getattr(kind, '__name__', None) or kind.split('.')[-1]

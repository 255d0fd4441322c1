"""Python in two processes of gloo, each a fork of one that only imports."""
import multiprocessing
import os
import pickle
import sys
import traceback

#: Starts a process that has imported the package, and nothing of the tests.
fresh = multiprocessing.get_context('forkserver')
fresh.set_forkserver_preload(['eql_mmdet'])


def run_two_ranks(body, folder, test_dir, given):
    """What ``result`` is in each process at the end of ``body``.

    Args:
        body: Python; it finds ``rank`` and what is given.
        folder: A free folder, in which it runs.
        test_dir: Where it finds modules beside those of ``tests``.
        given: Variables by name, which can be pickled.
    """
    ranks = [
        fresh.Process(
            target=_run_rank, args=(rank, body, folder, test_dir, given))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
        rank.kill()
    texts = [path.read_text() for path in folder.glob('error_?')]
    assert [rank.exitcode for rank in ranks] == [0, 0], '\n'.join(texts)
    return [
        pickle.loads((folder / f'result_{rank}').read_bytes())
        for rank in range(2)
    ]


def _run_rank(rank, body, folder, test_dir, given):
    import torch.distributed as dist
    sys.path.insert(0, str(test_dir))
    os.chdir(folder)
    try:
        dist.init_process_group(
            'gloo',
            init_method=f'file://{folder}/store',
            rank=rank,
            world_size=2)
        names = dict(given, rank=rank)
        exec(body, names)
        (folder / f'result_{rank}').write_bytes(pickle.dumps(names['result']))
        dist.destroy_process_group()
    except BaseException:
        (folder / f'error_{rank}').write_text(traceback.format_exc())
        os._exit(1)
    # Not through the end of the interpreter: a thread of gloo may still
    # want it.
    os._exit(0)

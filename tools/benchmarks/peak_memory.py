"""When a call is done and what it needs; for the benchmarks beside this."""
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile


def waiting(device):
    """Return what waits until everything on the device is done."""
    if device.type == 'cuda':
        return partial(torch.cuda.synchronize, device)
    return lambda: None


def peak_memory(run, device):
    """Most bytes that are allocated at once while ``run`` runs."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [
        # torch 2.1 has no start_ns.
        ((e.start_ns if hasattr(e, 'start_ns') else e.start_us)(), e.nbytes())
        for e in record.profiler.kineto_results.events()
        if e.name() == '[memory]'
    ]
    peak = held = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        held += size
        peak = max(peak, held)
    return peak

"""How much memory a call needs; for the benchmarks beside this file."""
import torch
from torch.profiler import ProfilerActivity, profile


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
    events = [(e.start_ns(), e.nbytes())
              for e in record.profiler.kineto_results.events()
              if e.name() == '[memory]']
    peak = held = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        held += size
        peak = max(peak, held)
    return peak

"""The best scores of an image, found in one pass over all of them."""
from typing import Tuple

import torch
from torch import Tensor

#: Neighbouring scores of a row that are ranked by their maximum.
GROUP = 64


def best_candidates(scores: Tensor, threshold: float,
                    number: int) -> Tuple[Tensor, bool]:
    """Take the best scores of a matrix, in a fixed order.

    Only the maxima of groups of 64 scores are ranked. If ``number`` maxima
    reach some value, at least as many scores do; so the best ``number``
    scores lie in groups whose maximum reaches it, and only those groups are
    opened. The host waits twice, for the number of open groups and for the
    number of candidates, whatever R and K are.

    Args:
        scores: (R, K), K at least 1; NaN is never a candidate.
        threshold: Candidates are strictly above it.
        number: Candidates wanted, at least 1.

    Returns:
        (n,) flat indices ``row * K + column``, best score first, equal
        scores by rising index; and whether these are all candidates. If
        not, n is at least ``number``, and every other score is lower than
        all of them: equal scores are never parted.
    """
    values, index = _open_groups(scores, number)
    values = values.masked_fill(~(values > threshold), -torch.inf)
    cut = _nth_largest(values, number)
    found = ((values >= cut) & (values > -torch.inf)).nonzero().squeeze(1)
    values, index = values[found], index[found]
    by_index = index.argsort()
    by_score = values[by_index].argsort(descending=True, stable=True)
    return index[by_index[by_score]], len(found) < number


def mask_rows_(scores: Tensor, *others: Tensor) -> Tensor:
    """Take rows that hold anything not finite out of the running, in place.

    A sum is finite if what it adds is, short of an overflow: one pass over
    the numbers, many times faster than looking at each. Nothing waits for
    the device.

    Args:
        scores: (R, C); no score of such a row is above anything any more.
        *others: (R, n) each, looked at too.

    Returns:
        (R,) bool, True where all is finite.
    """
    sums = [
        item.sum(dim=1, dtype=torch.promote_types(item.dtype, torch.float32))
        for item in (scores, *others)
    ]
    usable = sum(sums).isfinite()
    # Adding is ten times faster than filling, and changes no other score.
    scores += torch.where(usable, 0., -torch.inf)[:, None]
    return usable


def _open_groups(scores: Tensor, number: int) -> Tuple[Tensor, Tensor]:
    """Return (m,) scores, the best ``number`` among them, and indices."""
    rows, columns = scores.shape
    groups = columns // GROUP
    grouped = scores[:, :groups * GROUP].unflatten(1, (groups, GROUP))
    rest = scores[:, groups * GROUP:]
    maxima = grouped.amax(dim=2)
    ranked = torch.cat([maxima.flatten(), rest.flatten()])
    # A maximum of NaN hides scores: it bounds nothing, and is opened.
    bound = _nth_largest(
        ranked.nan_to_num(-torch.inf, torch.inf, -torch.inf), number)
    row, group = (~(maxima < bound)).nonzero(as_tuple=True)
    column = torch.arange(columns, device=scores.device)
    first = row * columns + group * GROUP
    rest_index = torch.arange(rows, device=scores.device)[:, None] * columns
    rest_index = rest_index + column[groups * GROUP:]
    index = first[:, None] + column[:GROUP]
    return (torch.cat([grouped[row, group].flatten(),
                       rest.flatten()]),
            torch.cat([index.flatten(), rest_index.flatten()]))


def _nth_largest(values: Tensor, number: int) -> Tensor:
    if number >= len(values):
        return values.new_full((), -torch.inf)
    return values.topk(number, sorted=False).values.min()

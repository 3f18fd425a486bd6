"""Every way to train a small made-up network, each walked through step by step: the truth that plans are held to."""

import random
from dataclasses import replace
from itertools import product

from mmman.costs.part_costs import Branch, Heads, Option, PartCosts, Unit
from mmman.costs.timeline import Work

MODES = ('keep', 'full', 'selective')


def random_costs(seed, num_units):
    """Costs that follow what recomputation does: less is kept, more is done."""
    rng = random.Random(seed)

    def ways(i, output):
        kept = output + rng.randint(0, 60)
        backward = kept + rng.randint(0, 50)
        work = rng.randint(5, 40)
        again = rng.randint(0, 20)
        found = {
            'keep': Option(
                i,
                i + 1,
                'keep',
                f's{i}',
                kept,
                kept + rng.randint(0, 9),
                backward,
                Work(work),
                forward_work=Work(again + rng.randint(0, 3)),
            ),
            'full': Option(
                i, i + 1, 'full', f's{i}', output, output + rng.randint(0, 30), backward, Work(work + again)
            ),
            'selective': Option(
                i, i + 1, 'selective', f's{i}', rng.randint(output, kept), kept, backward, Work(work, again)
            ),
        }
        return {mode: replace(option, gradients=backward // 9) for mode, option in found.items()}

    def recomputed(stop, part, most):
        kept, forward, backward = rng.randint(0, most), rng.randint(0, 60), rng.randint(20, 90)
        return Option(0, stop, 'full', part, kept, forward, backward, Work(rng.randint(1, 20)))

    units = []
    for i in range(num_units):
        output = rng.randint(1, 30)
        closes = i if rng.random() < 0.5 or i == num_units - 1 else None
        trained = rng.randint(0, 10) if rng.random() < 0.8 else 0
        chain = ways(i, output)
        first = {m: Option(**{**vars(o), 'work': o.work - Work(1)}) for m, o in chain.items()}
        units.append(Unit(f's{i}', f'stage{i // 2}', closes, output, closes is not None, trained, chain, first))
    used = [u for u in units if u.used]
    heads = {}
    for count in range(1, len(used) + 1):
        steps = [
            Option(i, i + 1, kept=rng.randint(0, 40), forward=rng.randint(0, 60), backward=rng.randint(0, 80))
            for i in range(2)
        ]
        whole, one = recomputed(2, 'neck:0', 20), recomputed(1, 'part:0', 10)
        heads[count] = Heads(2, (*steps, whole, one), rng.randint(0, 20), Work(rng.randint(20, 60)))
    branches = {}
    for i, is_last in product(range(num_units - 1), (False, True)):
        auxiliary = ways(1, units[min(i + 1, num_units - 1)].output)
        head = Option(
            1, 2, kept=0, forward=rng.randint(5, 40), backward=rng.randint(5, 60), work=Work(rng.randint(1, 15))
        )
        resident = rng.randint(1, 25)
        branches[i, is_last] = Branch(auxiliary, head, 12, 5, resident, resident // 3)
    features = rng.random() < 0.5
    accumulates = rng.random() < 0.3
    return PartCosts(tuple(units), heads, branches, 100, 20, 7, rng.randint(0, 90), 10, accumulates, features)


def all_ways(costs):
    """Peak and work of every way: end to end, and in blocks."""
    count = len(costs.units)
    whole = list(_last_block(costs, 0))
    base = costs.resident + costs.accumulates * _all_gradients(costs)
    local = []
    for cuts in product((False, True), repeat=count - 1):
        ends = [i for i, cut in enumerate(cuts) if cut]
        if not ends:
            continue
        spans = list(zip([0, *(e + 1 for e in ends)], ends, strict=False))
        if any(not any(u.gradients for u in costs.units[a : b + 1]) for a, b in spans):
            continue
        branches = [costs.branches[end, end == ends[-1]] for end in ends]
        added = sum(b.resident + costs.accumulates * b.gradients for b in branches)
        parts = [list(_local_block(costs, a, b, br)) for (a, b), br in zip(spans, branches, strict=True)]
        parts.append(list(_last_block(costs, ends[-1] + 1)))
        for ways in product(*(_best(part) for part in parts)):
            local.append((base + added + max(p for p, _ in ways), sum(w for _, w in ways)))
    return [(base + p, w) for p, w in whole], local


def _all_gradients(costs):
    return sum(u.gradients for u in costs.units) + max(h.gradients for h in costs.heads.values())


def _best(ways):
    best = []
    for peak, work in sorted(set(ways)):
        if not best or work < best[-1][1]:
            best.append((peak, work))
    return best


def _amount(work):
    return work.flops + 1e-3 * work.moved


def _pieces(costs, first, last):
    """All ways to cut units into pieces: lists of (start, stop, mode)."""
    if first > last:
        yield []
        return
    for stop in range(first + 1, min(last + 1, first + 4) + 1):
        inside = costs.units[first : stop - 1]
        if any(u.closes is not None for u in inside):
            break
        for mode in MODES if stop == first + 1 else MODES[1:]:
            for rest in _pieces(costs, stop, last):
                yield [(first, stop, mode), *rest]


def _run_pieces(costs, pieces, begin, behind_peak, behind_work, gradients, others, twice):
    """Walk through a block: forwards, what is behind it, backwards."""
    kept, peak, work, states = 0, 0, behind_work, []
    for start, stop, mode in pieces:
        states.append(kept)
        own = 0
        for i in range(start, stop):
            unit = costs.units[i]
            ways = unit.ways_first if i == begin else unit.ways
            peak = max(peak, kept + own + ways[mode].forward)
            whole = mode == 'full' and i + 1 < stop  # its output is computed again, too
            work += _amount(ways['keep'].work + ways['keep'].forward_work if whole else ways[mode].work)
            own += ways[mode].kept - (ways['full'].kept if i + 1 < stop else 0)
        kept += own
    peak = max(peak, kept + behind_peak)
    for (start, stop, mode), before in reversed(list(zip(pieces, states, strict=True))):
        inside, needs = 0, []
        later = gradients
        alive = {}
        for i in reversed(range(start, stop)):
            alive[i] = later * (not costs.accumulates) + others(i)
            later += costs.units[i].gradients
        for i in range(start, stop):
            unit = costs.units[i]
            ways = unit.ways_first if i == begin else unit.ways
            single = stop == start + 1
            needs.append(inside + (ways[mode] if single else ways['keep']).backward + alive[i])
            if not single:  # it is computed again beside the gradient of what comes out
                needs.append(inside + ways['keep'].forward + alive[i] + costs.units[stop - 1].ways['full'].kept)
            inside += ways['keep'].kept
        peak = max(peak, before + max(needs) + (twice(stop - 1) if mode != 'keep' else 0))
        gradients = later
    return peak, work


def _held(costs, i):
    unit = costs.units[i]
    return unit.closes is not None and (unit.used or not costs.outputs_are_features)


def _received(costs, first):
    handed = {i for i in range(first) if _held(costs, i)} | ({first - 1} if first else set())
    return sum(costs.units[i].output for i in handed)


def _last_block(costs, first):
    used = [i for i in range(first, len(costs.units)) if costs.units[i].used]
    heads = costs.heads[max(1, len(used))]
    steps, whole, one = heads.options[:2], heads.options[2], heads.options[3]
    for chain in (steps, [whole], [one, steps[1]]):
        kept, peak, work = 0, 0, _amount(heads.work)
        for option in chain:
            peak = max(peak, kept + option.forward, kept + option.backward)
            kept += option.kept
            work += _amount(option.work)
        for pieces in _pieces(costs, first, len(costs.units) - 1):
            others = lambda i: sum(costs.units[j].output for j in used if j < i)  # noqa: E731
            own, amount = _run_pieces(costs, pieces, first, peak, work, heads.gradients, others, lambda i: 0)
            yield max(own + _received(costs, first), _step(costs, first, len(costs.units), heads.gradients)), amount


def _step(costs, first, stop, gradients):
    gradients += sum(unit.gradients for unit in costs.units[first:stop])
    share = min(gradients, costs.largest) / costs.largest
    return gradients * (not costs.accumulates) + round(costs.stepping * share)


def _local_block(costs, first, last, branch):
    outlive = {i for i in range(last + 1) if _held(costs, i)} | {last}
    for way in branch.auxiliary.values():
        head = branch.head
        waits = 0 if costs.accumulates else branch.gradients_of_head
        peak = max(way.forward, way.kept + max(head.forward, head.backward), way.backward + waits)
        work = _amount(way.work) + _amount(head.work)
        for pieces in _pieces(costs, first, last):
            own, amount = _run_pieces(
                costs,
                pieces,
                first,
                peak,
                work,
                branch.gradients,
                lambda i: sum(costs.units[j].output for j in outlive if j > i),
                lambda i: costs.units[i].output if i in outlive else 0,
            )
            features = sum(costs.units[i].output for i in outlive if i >= first) + _received(costs, first)
            yield max(own + _received(costs, first), _step(costs, first, last + 1, branch.gradients) + features), amount

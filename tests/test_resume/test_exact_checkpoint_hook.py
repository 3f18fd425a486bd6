import os
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import EpochBasedTrainLoop
from scenarios.toy_run import file, train
from scenarios.training import assert_same_state
from torch.utils.data import BatchSampler, IterableDataset

from mmman.apis.publish import publish
from mmman.resume import ExactCheckpointHook
from mmman.resume.own_files_hook import KEY
from mmman.resume.storage import AtomicLocalBackend


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)


class Stream(IterableDataset):
    def __len__(self):
        return 10

    def __iter__(self):
        for _ in range(len(self)):
            yield dict(inputs=torch.ones(2))


@DATA_SAMPLERS.register_module()
class EvenAndOdd(BatchSampler):
    """As mmdet's AspectRatioBatchSampler: how many indices were read does not tell how many batches were given."""

    def __init__(self, sampler, batch_size):
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self):
        groups = ([], [])
        for index in self.sampler:
            group = groups[index % 2]
            group.append(index)
            if len(group) == self.batch_size:
                yield group[:]
                del group[:]
        left = groups[0] + groups[1]
        while left:
            yield left[: self.batch_size]
            left = left[self.batch_size :]


def resumed(tmp_path, at, **options):
    return train(tmp_path / 'resumed', resume=True, load_from=file(tmp_path / 'whole', at), **options)


def assert_resumes(tmp_path, at, **options):
    """Compares what was loaded, the batches' numbers and where training ends."""
    whole, batches = train(tmp_path / 'whole', **options)
    again, rest = resumed(tmp_path, at, **options)
    assert [batch[1] for batch in batches] == list(range(len(batches)))
    assert rest == batches[at:]
    assert_same_state(again.model, whole.model)
    return again


EPOCHS = dict(epochs=3)
WORKERS = dict(num_workers=2)
GROUPS = dict(batch_size=2, batch_sampler=dict(type='EvenAndOdd'))


@pytest.mark.parametrize('at', [1, 5, 7, 10])
@pytest.mark.parametrize('workers', [{}, WORKERS, dict(num_workers=3, loader=dict(persistent_workers=True))])
def test_a_loop_of_epochs_goes_on_at_its_batch(at, workers, tmp_path):
    assert_resumes(tmp_path, at, **EPOCHS, **workers)


def test_a_loop_of_epochs_goes_on_at_the_next_epoch(tmp_path):
    checkpoint = dict(by_epoch=True, filename_tmpl='iter_{}.pth')
    whole, batches = train(tmp_path / 'whole', checkpoint=checkpoint, **EPOCHS)
    again, rest = resumed(tmp_path, 2, checkpoint=checkpoint, **EPOCHS)
    assert rest == batches[10:]
    assert_same_state(again.model, whole.model)


@pytest.mark.parametrize('workers', [{}, WORKERS])
@pytest.mark.parametrize('loop', [{}, EPOCHS])
def test_where_the_batch_sampler_forms_groups(workers, loop, tmp_path):
    assert_resumes(tmp_path, 6, loader=GROUPS, **workers, **loop)


def test_a_loop_of_iterations_over_a_sampler_of_epochs(tmp_path):
    loader = dict(sampler=dict(type='DefaultSampler', shuffle=True))
    assert_resumes(tmp_path, 6, loader=loader, iters=8, **WORKERS)


@pytest.mark.parametrize('loop', [{}, EPOCHS])
def test_without_a_seed_in_the_config(loop, tmp_path):
    assert_resumes(tmp_path, 6, randomness=dict(seed=None), **WORKERS, **loop)


def test_twice_resumed_is_as_never_stopped(tmp_path):
    whole, batches = train(tmp_path / 'whole', **WORKERS)
    train(tmp_path / 'resumed', resume=True, load_from=file(tmp_path / 'whole', 3), iters=6, **WORKERS)
    again, rest = train(tmp_path / 'resumed', resume=True, **WORKERS)
    assert rest == batches[6:]
    assert_same_state(again.model, whole.model)


def test_batches_of_workers_differ_in_their_random_numbers(tmp_path):
    _, batches = train(tmp_path, **WORKERS)
    numbers = [item[1] for *_, batch in batches for item in batch]
    assert len(set(numbers)) == len(numbers) == 20


@pytest.mark.parametrize('at', [4, 5, 6])  # right before a validation; not; saved again after one, with the best
def test_validation_does_not_move_the_generators(at, tmp_path):
    again = assert_resumes(tmp_path, at, gain=1, checkpoint=dict(save_best='acc', rule='greater'))
    assert again.message_hub.get_scalar('val/acc')


def test_loading_weights_restores_no_generators(tmp_path):
    _, batches = train(tmp_path / 'whole')
    _, loaded = train(tmp_path / 'loaded', load_from=file(tmp_path / 'whole', 4))
    assert loaded == batches


def test_what_is_replaced_is_removed_last(tmp_path, monkeypatch):
    events = []

    def noted(name, function):
        def call(*args):
            events.append((name, Path(args[-1]).name))
            function(*args)

        return call

    for name in ('replace', 'remove'):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    checkpoint = dict(max_keep_ckpts=1, save_best='acc', rule='greater', interval=2)
    train(tmp_path, iters=6, gain=1, checkpoint=checkpoint)
    first, last = [('replace', 'iter_2.pth'), ('replace', 'last_checkpoint')], ('replace', 'last_checkpoint')
    assert events == [
        *first,
        ('replace', 'best_acc_iter_2.pth'),
        *first,
        *[('replace', 'iter_4.pth'), last, ('remove', 'iter_2.pth')],  # the second validation is worse
        *[('replace', 'iter_6.pth'), last, ('remove', 'iter_4.pth')],
        ('replace', 'best_acc_iter_6.pth'),
        *[('replace', 'iter_6.pth'), last, ('remove', 'best_acc_iter_2.pth')],
    ]
    names = {path.name for path in tmp_path.glob('*.pth')}
    assert names == {'iter_6.pth', 'best_acc_iter_6.pth'}


def test_only_checkpoints_to_resume_from_have_random_states_and_published_ones_have_none(tmp_path):
    train(tmp_path, iters=2, gain=1, checkpoint=dict(save_best='acc', rule='greater'))
    checkpoint = torch.load(tmp_path / 'iter_2.pth', weights_only=False)
    assert len(checkpoint[KEY]['rng']) == 1
    assert KEY not in torch.load(tmp_path / 'best_acc_iter_2.pth', weights_only=False)
    published = publish(tmp_path / 'iter_2.pth', tmp_path / 'plain.pth')
    assert set(torch.load(published, weights_only=True)) == {'meta', 'state_dict'}


def test_a_file_is_not_touched_before_all_of_the_new_one_is_written(tmp_path, monkeypatch):
    backend, path = AtomicLocalBackend(), tmp_path / 'folder' / 'file'
    backend.put(b'old', path)

    def fail(descriptor):
        raise OSError('no space left')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='no space left'):
        backend.put_text('new', path)
    assert path.read_text() == 'old'
    monkeypatch.undo()
    backend.put_text('new', path)
    assert [p.name for p in path.parent.iterdir()] == ['file'] and path.read_text() == 'new'


def edited(tmp_path, at, **changes):
    """The checkpoint `at`, with other entries of ours; without any where there are no changes."""
    checkpoint = torch.load(file(tmp_path / 'whole', at), weights_only=False)
    if changes:
        checkpoint[KEY].update(changes)
    else:
        del checkpoint[KEY]
    torch.save(checkpoint, file(tmp_path / 'whole', at))


def warnings_of(capfd):
    lines = [line.rpartition('- WARNING - ')[2] for line in ''.join(capfd.readouterr()).splitlines()]
    return [line for line in lines if line.startswith(('resumed training', 'training resumed', 'the optimizer steps'))]


@pytest.mark.parametrize(
    'changes, options, message',
    [
        (dict(), {}, 'the checkpoint has no random states, because ExactCheckpointHook did not write it'),
        (dict(rng=[0, 0]), {}, r'was written by 2 process\(es\), and now there is/are 1'),
        (dict(epoch_length=4), EPOCHS, 'an epoch had 4 batches, and now has 5; the loop begins its epoch 1 again'),
        (None, dict(loop=dict(fast_forward_on_resume=True)), 'the data start from the beginning'),
    ],
)
def test_a_resume_that_is_not_exact_says_why(changes, options, message, tmp_path, capfd):
    train(tmp_path / 'whole', **options)
    if changes is not None:
        edited(tmp_path, 5, **changes)
    _, rest = resumed(tmp_path, 5, **options)
    (line,) = warnings_of(capfd)
    assert re.search(message, line)
    assert len(rest) == (15 if options == EPOCHS else 5)  # mmengine begins the first of three epochs again


def test_an_exact_resume_says_nothing(tmp_path, capfd):
    assert_resumes(tmp_path, 6, optim_wrapper=ACCUMULATING, checkpoint=dict(interval=2), **WORKERS)
    assert not warnings_of(capfd)


ACCUMULATING = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(checkpoint=dict(interval=3)), r'interval=4 \(now 3\)'),
        (dict(checkpoint=dict(interval=2, save_begin=1)), r'save_begin=0 \(now 1\)'),
        (dict(checkpoint=dict(interval=1, by_epoch=True), **EPOCHS), r'interval=2 \(now 1\)'),
    ],
)
def test_checkpoints_inside_of_a_window_of_accumulation(options, message, tmp_path, capfd):
    train(tmp_path, optim_wrapper=ACCUMULATING, **options)
    (line,) = warnings_of(capfd)
    assert re.search(message, line)


def test_a_dataset_without_indices_is_left_as_it_is(tmp_path, capfd):
    train(tmp_path, loader=dict(dataset=Stream(), sampler=None), iters=2, **WORKERS)
    (line,) = warnings_of(capfd)
    assert 'Stream is read by 2 workers and without batches of indices' in line


@LOOPS.register_module()
class OtherEpochs(EpochBasedTrainLoop):
    def run_epoch(self):
        super().run_epoch()


@pytest.mark.parametrize('kind', ['OtherEpochs', 'EpochBasedTrainLoop'])
def test_a_loop_that_cannot_go_on_inside_of_an_epoch_is_refused(kind, tmp_path, capfd):
    options = dict(epochs=2, loop=dict(type=kind))
    train(tmp_path / 'whole', **options)
    said = f"inside of epochs of 5 batches, and {kind} cannot go on from them: set train_cfg.type='mmman.Resumable"
    assert said in ''.join(capfd.readouterr())  # in time: before there is a checkpoint
    with pytest.raises(RuntimeError, match=f'after batch 2 of 5 of an epoch, and {kind} over a Noisy cannot go on'):
        resumed(tmp_path, 7, **options)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(save_optimizer=False), 'save_optimizer=False'),
        (dict(save_param_scheduler=False), 'save_param_scheduler=False'),
        (dict(file_client_args=dict(backend='disk')), 'write backend_args instead'),
    ],
)
def test_arguments_that_contradict_the_hook(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExactCheckpointHook(**arguments)

"""Distillation: each term does what it says, on small networks and random scenes."""

import copy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from device.errors import RecipeError  # noqa: E402
from train_host import fit as fitting  # noqa: E402
from train_host.distill import (  # noqa: E402
    AttentionMap,
    ClipSoftLabels,
    Filter,
    StreamSoftLabels,
    StudentToTeacher,
    TeacherToStudent,
    train_filter,
)
from train_host.fit import fit  # noqa: E402
from train_host.network import Network, Shape  # noqa: E402
from train_host.objectives import Normalised, StreamObjective, margin_of  # noqa: E402
from train_host.scenes import Batch  # noqa: E402

SMALL = Shape("separable", channels=5, hidden=6, layers=1, attention="flat")
LARGE = Shape("full", channels=2, hidden=10, layers=2, attention="deep")
STEPS = 12


class RandomScenes:
    """Stands for a composer: the focus of a keyword is louder in the upper bands."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    @property
    def state(self):
        return dict(self.rng.bit_generator.state)

    @state.setter
    def state(self, state) -> None:
        self.rng.bit_generator.state = state

    def batch(self, size: int) -> Batch:
        positive = torch.arange(size) < size // 2
        mel = torch.from_numpy(self.rng.normal(-1, 1, (size, STEPS * 8, 40)).astype(np.float32))
        mel[positive, 24:48, 20:] += 3
        focus = torch.zeros(size, STEPS, dtype=torch.bool)
        focus[:, 4:7] = True
        focus[-1] = False
        steps = torch.arange(STEPS)
        quiet = ~positive[:, None] | (steps < 3) | (steps > 8)
        window = torch.nn.functional.pad(mel, (0, 0, 0, 100 - STEPS * 8))
        return Batch(mel, positive, focus, quiet, window, focus.any(1))


@pytest.fixture
def teacher() -> Network:
    torch.manual_seed(5)
    return Network(LARGE).eval()


@pytest.fixture
def student() -> Normalised:
    torch.manual_seed(0)
    return Normalised(Network(SMALL), torch.zeros(40), torch.ones(40))


def teach(objective, parameters, steps=60, rate=1e-2):
    """Loss before and after some steps of training on one batch."""
    batch = RandomScenes(3).batch(8)
    optimiser = torch.optim.Adam(list(parameters), rate)
    losses = []
    for _ in range(steps):
        loss = objective(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def alone(term, model):
    """The term's loss, every scene from the start of a stream."""

    def loss(batch):
        trace = model.trace(batch.mel, model.initial_state(len(batch.mel)))
        heard = None
        if term.streamed is not None:
            with torch.no_grad():
                state = term.streamed.initial_state(len(batch.mel))
                heard = term.streamed.trace(batch.mel, state)
        return term(batch, trace, heard)

    return loss


def every_term(teacher):
    return {
        "clip labels": ClipSoftLabels(teacher),
        "stream labels": StreamSoftLabels(teacher),
        "to teacher, constant": StudentToTeacher(teacher, 6, 10, learn=False),
        "to teacher, learnable": StudentToTeacher(teacher, 6, 10, learn=True),
        "to student, constant": TeacherToStudent(teacher, Filter(10, 6)),
        "to student, learnable": TeacherToStudent(teacher, Filter(10, 6), learn=True),
        "attention": AttentionMap(teacher),
    }


LEARNABLE = {"to teacher, learnable", "to student, learnable"}
NAMES = list(every_term(Network(LARGE)))


@pytest.mark.parametrize("name", NAMES)
def test_student_comes_closer_and_nothing_else_moves(name, teacher, student):
    """Trained on the term alone, the student's loss falls; the teacher stays as it is."""
    term = every_term(teacher)[name]
    teacher_before = copy.deepcopy(teacher.state_dict())
    before = copy.deepcopy(term.state_dict())
    objective = alone(term, student)
    batch = RandomScenes(3).batch(8)
    first = objective(batch).item()
    _, last = teach(objective, student.parameters())
    floor = least_possible(term, name, teacher, batch)
    assert last - floor < 0.7 * (first - floor)
    assert all(torch.equal(before[key], value) for key, value in term.state_dict().items())
    for key, value in teacher.state_dict().items():
        assert torch.equal(teacher_before[key], value)
    assert all(p.grad is None for p in teacher.parameters())
    trainable = [p for p in term.parameters() if p.requires_grad]
    assert bool(trainable) == (name in LEARNABLE)
    assert all(p.grad is not None for p in trainable)


def least_possible(term, name, teacher, batch):
    """What is left of the loss when the student does all that is asked."""
    if "labels" in name:  # cross-entropy: the entropy of the teacher's own opinion

        class Parrot:
            def initial_state(self, size):
                return teacher.initial_state(size)

            def trace(self, mel, state):
                trace = teacher.trace(mel, state)
                if name == "clip labels":
                    logits = teacher.clip(batch.window)
                    return trace._replace(logits=logits[:, None].expand(-1, STEPS, -1))
                return trace

        with torch.no_grad():
            return float(alone(term, Parrot())(batch))
    if name == "to student, learnable":  # the filter's own task
        with torch.no_grad():
            outputs = teacher.trace(batch.mel, teacher.initial_state(8)).outputs
            return float(term.filter.task_loss(outputs, batch))
    return 0.0


def test_terms_and_the_loss_of_the_labels_add_up(teacher, student):
    batch = RandomScenes().batch(8)
    terms = list(every_term(teacher).values())
    alone_losses = [alone(term, student)(batch).item() for term in terms]
    without = StreamObjective(student)(batch).item()
    together = StreamObjective(student, terms)(batch).item()
    assert together == pytest.approx(without + sum(alone_losses), rel=1e-4)
    heavier = StreamSoftLabels(teacher, weight=2.0)
    assert alone(heavier, student)(batch).item() == pytest.approx(4 * alone_losses[1], rel=1e-5)


def test_teacher_runs_once_and_hears_what_the_student_hears(student):
    """Carried on in the same order: a teacher that is the student stays its equal."""
    twin = copy.deepcopy(student)
    calls = []

    class Counted:
        initial_state = staticmethod(twin.initial_state)

        def trace(self, mel, state):
            assert not torch.is_grad_enabled()
            calls.append(state)
            return twin.trace(mel, state)

    counted, scenes = Counted(), RandomScenes()
    terms = [AttentionMap(counted), AttentionMap(counted), StreamSoftLabels(counted)]
    objective = StreamObjective(student, terms)
    for _ in range(3):
        objective(scenes.batch(8))
    assert len(calls) == 3
    started = calls[2].hidden.abs().sum(dim=(0, 2)) == 0
    assert 0 < started.sum() < 8  # some go on and some start
    carried = objective.streams.carried
    for ours, theirs in zip(carried[id(student), 0], carried[id(counted), 0], strict=True):
        assert torch.equal(ours, theirs)


class Heard:
    """A teacher that gives the margins it is told to."""

    def __init__(self, network: Network, margin) -> None:
        self.network, self.margin = network, margin
        self.initial_state = network.initial_state

    def logits(self, margin):
        return torch.stack([torch.zeros_like(margin), margin], -1)

    def trace(self, mel, state):
        return self.network.trace(mel, state)._replace(logits=self.logits(self.margin))

    def clip(self, window):
        return self.logits(self.margin)


def labels_loss(term_of, student_margin, teacher_margin, batch):
    network = Network(SMALL)
    term = term_of(Heard(network, teacher_margin))
    with torch.no_grad():
        return float(alone(term, Heard(network, student_margin))(batch))


def test_clip_teacher_counts_as_far_as_it_is_right():
    batch = RandomScenes().batch(8)
    right = torch.where(batch.positive, 4.0, -4.0)
    student = right[:, None].expand(-1, STEPS)
    agreed = labels_loss(ClipSoftLabels, student, right, batch)
    assert agreed < labels_loss(ClipSoftLabels, student, right * 0.1, batch)
    wrong = right.clone()
    wrong[0] = -30.0  # it denies a keyword, and is not believed
    assert labels_loss(ClipSoftLabels, student, wrong, batch) < 1.5 * agreed


def test_stream_teacher_counts_as_far_as_it_is_right():
    batch = RandomScenes().batch(8)
    right = torch.where(batch.focus & batch.positive[:, None], 4.0, -4.0)
    agreed = labels_loss(StreamSoftLabels, right, right, batch)
    assert agreed < labels_loss(StreamSoftLabels, right * 0.1, right, batch)
    assert agreed < labels_loss(StreamSoftLabels, -right, right, batch)
    alarm, deaf = right.clone(), right.clone()
    alarm[-2, 5] = 30.0  # it reports another word at one step
    deaf[0] = -30.0  # it misses a keyword
    for wrong in (alarm, deaf):
        assert labels_loss(StreamSoftLabels, right, wrong, batch) < 1.5 * agreed


def test_stream_teacher_shapes_the_whole_word():
    """Between a keyword's beginning and its end, where labels are silent, the teacher is not."""
    batch = RandomScenes().batch(8)
    between = ~batch.quiet & ~batch.focus
    assert between.any()
    teacher = torch.where(batch.focus & batch.positive[:, None], 4.0, -4.0)
    other = torch.where(between, 4.0, teacher)
    assert labels_loss(StreamSoftLabels, teacher, teacher, batch) < 0.8 * labels_loss(
        StreamSoftLabels, other, teacher, batch
    )


def test_temperature_keeps_the_size_of_the_gradient():
    """Its square makes up for margins divided by it, once they are small."""
    batch = RandomScenes().batch(8)
    network = Network(SMALL)
    teacher = Heard(network, torch.full((8, STEPS), 0.02))
    sizes = []
    for temperature in (1.0, 8.0):
        margin = torch.zeros(8, STEPS, requires_grad=True)
        term = StreamSoftLabels(teacher, temperature)
        trace = network.trace(batch.mel, network.initial_state(8))
        student = trace._replace(logits=torch.stack([torch.zeros_like(margin), margin], -1))
        heard = trace._replace(logits=teacher.logits(teacher.margin))
        term(batch, student, heard).backward()
        sizes.append(float(margin.grad.abs().sum()))
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)


def test_attention_that_agrees_costs_nothing(student):
    batch = RandomScenes().batch(8)
    same, other = copy.deepcopy(student), Network(replace(SMALL, hidden=9))
    assert abs(alone(AttentionMap(same), student)(batch).item()) < 1e-6
    assert alone(AttentionMap(other), student)(batch).item() > 1e-4


def test_windows_must_be_equal(student):
    teacher = Network(replace(LARGE, window=20))
    with pytest.raises(RecipeError, match="12 steps and the teacher to 20"):
        StreamObjective(student, [AttentionMap(teacher)])(RandomScenes().batch(8))


def test_steps_must_be_equal(student):
    teacher = Network(replace(LARGE, stride=(2, 16)))
    with pytest.raises(RecipeError, match="same stride"):
        StreamObjective(student, [StreamSoftLabels(teacher)])(RandomScenes().batch(8))


def test_projections_keep_lengths_and_follow_their_seed(teacher):
    term = StudentToTeacher(teacher, 6, 10, learn=False, seed=4)
    outputs = torch.randn(3, 6)
    assert torch.allclose(term.projection(outputs).norm(dim=1), outputs.norm(dim=1), rtol=1e-5)
    again = StudentToTeacher(teacher, 6, 10, learn=False, seed=4)
    other = StudentToTeacher(teacher, 6, 10, learn=False, seed=5)
    assert torch.equal(term.projection.weight, again.projection.weight)
    assert not torch.equal(term.projection.weight, other.projection.weight)
    assert torch.equal(Filter(10, 6, seed=4)(torch.ones(10)), Filter(10, 6, seed=4)(torch.ones(10)))


def test_learnable_filter_turns_but_does_not_collapse(teacher, student):
    """It would like to make the teacher's features constant; the error then costs nothing."""
    term = TeacherToStudent(teacher, Filter(10, 6), learn=True)
    before = term.filter.projection.weight.detach().clone()
    first, last = teach(
        StreamObjective(student, [term]), [*student.parameters(), *term.parameters()], steps=150
    )
    after = term.filter.projection.weight.detach()
    assert last < first
    assert (after - before).abs().max() > 0.1
    assert torch.allclose(after @ after.T, torch.eye(6), atol=1e-4)
    batch = RandomScenes(3).batch(8)
    with torch.no_grad():
        outputs = teacher.trace(batch.mel, teacher.initial_state(8)).outputs
        margin = margin_of(term.filter.head(term.filter(outputs)))
    keywords = batch.positive
    assert margin[keywords, 4:7].amax(1).min() > margin[~keywords].amax(1).max()


def test_filter_learns_the_task_first_and_is_then_fixed(teacher, student, tmp_path):
    own = Normalised(teacher, torch.zeros(40), torch.ones(40))
    teach(StreamObjective(own), own.parameters(), steps=100)
    filter = Filter(10, 6)
    before = filter.projection.weight.detach().clone()
    curve = train_filter(
        filter,
        teacher,
        RandomScenes(),
        steps=150,
        batch=8,
        rate=2e-2,
        partial=tmp_path / "filter.partial.pt",
    )
    assert curve[-1][1] < 0.5 * curve[0][1]
    learned = filter.projection.weight.detach().clone()
    assert not torch.allclose(before, learned, atol=1e-2)
    term = TeacherToStudent(teacher, filter)
    assert not any(p.requires_grad for p in term.parameters())
    first, last = teach(alone(term, student), student.parameters())
    assert last < 0.7 * first
    assert torch.equal(term.filter.projection.weight, learned)


def test_fit_learns_projections_beside_the_network_and_resumes_them(teacher, tmp_path, monkeypatch):
    """A run that breaks off at step 25 and starts again keeps what the projection had learned."""
    monkeypatch.setattr(fitting, "SAVE_EVERY", 10)
    partial = tmp_path / "student.partial.pt"

    def train(stop_at=None):
        torch.manual_seed(0)
        model = Normalised(Network(SMALL), torch.zeros(40), torch.ones(40))
        terms = [
            StudentToTeacher(teacher, 6, 10, learn=True),
            TeacherToStudent(teacher, Filter(10, 6), learn=True),
            TeacherToStudent(teacher, Filter(10, 6)),
        ]
        objective, taken = StreamObjective(model, terms), []
        # Every scene from the start of a stream: what is carried on is not saved.
        monkeypatch.setattr(objective.streams, "run", fresh)

        def after_step(step):
            taken.append(step)
            if step == stop_at:
                raise KeyboardInterrupt

        fit(
            "student",
            model,
            objective,
            RandomScenes(),
            steps=40,
            batch=8,
            rate=1e-2,
            partial=partial,
            after_step=after_step,
        )
        return model, objective, taken

    model, objective, taken = train()
    assert taken == list(range(1, 41))
    assert not partial.exists()
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=25)
    assert partial.exists()
    again, resumed, taken = train()
    assert taken == list(range(21, 41))
    for key, value in objective.terms.state_dict().items():
        assert torch.allclose(value, resumed.terms.state_dict()[key], atol=1e-5), key
    for key, value in model.state_dict().items():
        assert torch.allclose(value, again.state_dict()[key], atol=1e-5), key
    start = StudentToTeacher(teacher, 6, 10, learn=True).projection.weight
    assert (objective.terms[0].projection.weight - start).abs().max() > 1e-2
    constant = Filter(10, 6).projection.weight
    assert torch.equal(objective.terms[2].filter.projection.weight, constant)
    # Nothing of the terms is part of the network.
    assert model.network.state_dict().keys() == Network(SMALL).state_dict().keys()


def fresh(model, batch, skipped=0):
    return model.trace(batch.mel, model.initial_state(len(batch.mel)))

"""The layer sweep: its sets, its proposals, and the whole of it on a tiny model."""

import numpy as np
import pytest

from schemas.attention import Anchor, TransferSpec
from schemas.errors import SourceMismatch, Unsupported
from schemas.recipes import Recipe
from tests.workers.bench import Bench, generate
from workers.analysis.interventions.distances import distance
from workers.analysis.interventions.edit_videos import Scorer
from workers.analysis.interventions.presets import choose, propose
from workers.analysis.interventions.settings import FIGURES, STRUCTURE, Setting, sweep_settings
from workers.analysis.interventions.sweep import Sweep, sweep_layers, sweep_steps
from workers.analysis.interventions.videos import Progress, most_in_a_batch
from workers.attention.maps import MemoryMaps


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_set_is_made_once(count: int) -> None:
    settings = sweep_settings(range(count), anchored=False)
    sets = [each.layers for each in settings]
    assert len(set(sets)) == len(sets)
    assert {(layer,) for layer in range(count)} <= set(sets)
    assert tuple(range(count)) in sets
    assert () in sets
    if count == 5:
        assert {(0, 1), (0, 1, 2), (0, 2, 3, 4), (0, 1, 2, 3)} <= set(sets)


def values_of(settings: list[Setting], structure: dict[tuple[int, ...], float]) -> np.ndarray:
    values = np.zeros((len(settings), len(FIGURES)))
    values[:, STRUCTURE] = [structure.get(each.layers, 0.5) for each in settings]
    values[:, FIGURES.index("change_made")] = 0.9
    return values


def test_what_is_proposed() -> None:
    """Layer 4 does harm, layers 1 and 3 carry the shot."""
    settings = sweep_settings(range(6), anchored=False)
    structure = {(): 0.4, (1,): 0.7, (3,): 0.65, (2,): 0.55, tuple(range(6)): 0.8}
    for layer in range(6):
        rest = tuple(other for other in range(6) if other != layer)
        structure[rest] = 0.9 if layer == 4 else 0.75
    sets = propose(settings, values_of(settings, structure), 4)
    assert len(sets) <= 4
    assert (1, 3) in sets
    assert (1, 2, 3) in sets
    assert not set(sets) & {each.layers for each in settings}

    tried = [Setting("proposed", each) for each in sets]
    structure[1, 3] = 0.89
    every = settings + tried
    values = np.stack([values_of(every, structure)] * 2)
    values[1, every.index(tried[sets.index((1, 2, 3))]), STRUCTURE] = 1.0
    best, fewest, *of_edits = choose(every, values)
    assert best.layers == (0, 1, 2, 3, 5)
    assert best.structure == pytest.approx(0.9)
    assert fewest.layers == (1, 3)
    assert [each.layers for each in of_edits] == [(0, 1, 2, 3, 5), (1, 2, 3)]


def test_two_prompts_of_one_colour_have_nothing_to_lose() -> None:
    settings = sweep_settings(range(3), anchored=False)
    values = values_of(settings, {(0,): 0.9})
    values[:, FIGURES.index("change_made")] = np.nan
    assert choose(settings, values[None])[0].layers == (0,)


def test_transferring_nothing_is_not_best() -> None:
    """A layer that does nothing makes all of the change and keeps none of the shot."""
    settings = sweep_settings(range(3), anchored=False)
    values = values_of(settings, {(): 0.5, (1,): 0.75, (0, 1, 2): 0.8})
    change = FIGURES.index("change_made")
    values[:, change] = 1.0
    values[settings.index(Setting("alone", (1,), 1)), change] = 0.7
    values[settings.index(Setting("all", (0, 1, 2))), change] = 0.3
    assert choose(settings, values[None])[0].layers == (1,)


def sweep(bench: Bench, edits: list[Recipe], **options: int) -> Sweep:
    heard: list[int] = []
    total = sweep_steps(edits, range(3), most_in_a_batch(bench.model))
    scorer = Scorer("1", "mean level", lambda edit, source, plain, number: float(edit.mean()))
    found = sweep_layers(
        bench.model,
        edits,
        range(3),
        Progress(total, lambda done, of: heard.append(done)),
        scorers={"level": scorer},
        **options,
    )
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) <= total
    return found


def test_the_whole_sweep(bench: Bench) -> None:
    source = bench.recipe()
    edits = [bench.edit(source, "some dog", branches=("cond",)), bench.edit(source, "red")]
    found = sweep(bench, edits)
    for name, measure in found.measures.items():
        assert measure.axes == ("edit", "setting")
        assert measure.values.shape == (2, len(found.settings)), name
    assert set(found.measures) == {*FIGURES, "level"}
    assert [stills.shape for stills in found.stills] == [(len(found.settings) + 1, 32, 32, 3)] * 2
    assert found.proposals[0].name == "best"

    # each of the sweep's numbers is that of the edit made alone, with maps kept apart
    frames = generate(bench.model, source)
    maps, _ = bench.captured(source, "hidden")
    for number, setting in enumerate(found.settings):
        if setting.kind == "plain":
            edit = Recipe(generation=edits[0].generation)
            made = generate(bench.model, edit)
        else:
            edit = bench.edit(source, "some dog", branches=("cond",), layers=setting.layers)
            made = generate(bench.model, edit, transfer_from=maps)
        expected = distance(made, frames).edges
        ours = found.measures["structure"].values[0, number]
        assert ours == pytest.approx(expected, abs=0.02), setting


def test_anchored_edits_are_swept_as_they_are_made(bench: Bench) -> None:
    source = bench.recipe()
    edit = bench.edit(source, "some dog", anchor=Anchor(interval=2))
    frames = generate(bench.model, source)
    for hidden_bytes in (1 << 30, 1):
        found = sweep(bench, [edit], hidden_bytes=hidden_bytes)
        assert {"none", "plain"} <= {setting.kind for setting in found.settings}
        for number, setting in enumerate(found.settings):
            if setting.kind in ("plain", "none"):
                continue
            alone = bench.edit(source, "some dog", anchor=Anchor(interval=2), layers=setting.layers)
            expected = distance(generate(bench.model, alone), frames).edges
            ours = found.measures["structure"].values[0, number]
            assert ours == pytest.approx(expected, abs=0.02), setting


def test_latents_serve_where_hidden_states_do_not_fit(bench: Bench) -> None:
    edits = [bench.edit(bench.recipe(), "some dog")]
    hidden, latents = sweep(bench, edits), sweep(bench, edits, hidden_bytes=1)
    first = len(sweep_settings(range(3), anchored=False))
    assert np.allclose(
        hidden.measures["structure"].values[:, :first],
        latents.measures["structure"].values[:, :first],
        atol=0.02,
    )


def test_only_edits_of_one_shot_are_swept(bench: Bench) -> None:
    source = bench.recipe()
    with pytest.raises(Unsupported, match=r"sources\.0"):
        sweep(bench, [source])
    twice = bench.edit(bench.edit(source, "red"), "some dog")
    with pytest.raises(Unsupported, match=r"sources\.1.*plain generation"):
        sweep(bench, [bench.edit(source, "red"), twice])
    other = Recipe(
        generation=bench.recipe("some dog", seed=9).generation,
        source=source,
        transfer=TransferSpec(),
    )
    with pytest.raises(SourceMismatch, match="seed"):
        sweep(bench, [other])


def test_nothing_of_a_stopped_sweep_stays(bench: Bench) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        sweep_layers(bench.model, [bench.edit(bench.recipe(), "red")], range(3), Progress(99, stop))
    assert bench.model.hooks.current is None
    assert isinstance(bench.captured(bench.recipe(), "hidden")[0], MemoryMaps)

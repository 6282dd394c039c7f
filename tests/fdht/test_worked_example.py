"""The worked example of docs/: every claim of its words from numbers that its generator has no part in, and the RTL."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open

from docs.worked_example import PAGE, TARGET, drawn, example, page
from fdht.compiler.image import compile_bundle
from fdht.model.presets import find_preset
from fdht.model.quantise import quantise
from fdht.sim.simulate import simulate
from fdht.spec.errors import CapacityError
from fdht.spec.lstm import LSTMSpec
from tests.fdht.test_bundle_page import program

TEXT = PAGE.read_text()
WORDS = " ".join(TEXT.split())

N, M, RANK = (3, 2, 2, 2), (2, 2, 2, 2), 2
INPUTS, HIDDEN, STEPS = 16, 4, 3
SIZES = {f"{letter}{k}": size for letter, sizes in (("n", N), ("m", M)) for k, size in enumerate(sizes, 1)}
LEAVES = {f"U{k}": (f"r{k}", f"m{k}", f"n{k}") for k in range(1, 5)}
FACTORS = LEAVES | {"B12": ("r12", "r1", "r2"), "B34": ("r34", "r3", "r4"), "B1234": ("r12", "r34")}
ORDER = ("U1", "U2", "B12", "U3", "U4", "B34", "B1234")
STAGES = (("U1", "U2", "B12"), ("U3", "U4", "B34", "B1234"))


def says(text: str) -> bool:
    """Whether the page says so, wherever its lines break."""
    return " ".join(text.split()) in WORDS


def table(header: str) -> list[list[str]]:
    """The rows of the table whose header begins so."""
    lines = TEXT[TEXT.index(f"| {header}") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def size(index: str) -> int:
    return SIZES.get(index, RANK)


def multiplications(stages: tuple[tuple[str, ...], ...], filled: Callable[[dict[str, int]], bool]) -> list[int]:
    """Per stage how many products there are, counted one by one: for each entry of the data that is not zero for ever,
    one with each number of the merged weight that it meets.

    Args:
        filled: whether an entry of the data tensor, given by its coordinates, is not zero for ever.
    """
    data, done, result = [f"n{k}" for k in range(1, 5)], set[str](), []
    for group in stages:
        done |= set(group)
        ahead = {index for name, indices in FACTORS.items() if name not in done for index in indices}
        needed = ahead | {index for index in SIZES if index[0] == "m"}
        of_group = list(dict.fromkeys(index for name in group for index in FACTORS[name]))
        entries = {
            tuple(point[data.index(index)] for index in data)
            for point in np.ndindex(*map(size, data))
            if may_differ(dict(zip(data, point, strict=True)), filled)
        }
        rows = [index for index in of_group if index not in data and index in needed]
        result.append(len(entries) * prod(map(size, rows)))
        data = [index for index in data if index in needed or index not in of_group] + rows
    return result


def may_differ(point: dict[str, int], filled: Callable[[dict[str, int]], bool]) -> bool:
    """Whether an entry of the data can differ from 0: some entry of the data tensor with its coordinates does."""
    free = [f"n{k}" for k in range(1, 5) if f"n{k}" not in point]
    return any(filled(point | dict(zip(free, rest, strict=True))) for rest in np.ndindex(*map(size, free)))


def placed(point: dict[str, int]) -> bool:
    """x fills n1 = 0 and 1, h the first four places of n1 = 2."""
    return point["n1"] < 2 or point["n2"] == 0


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The bundle, and what the program of docs/bundle.md makes of it."""
    path = tmp_path_factory.mktemp("example") / "example.bundle"
    example()[0].save(path)
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["description"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    logits, _, words = program()["run"](description, tensors, tensors["clips"])
    return SimpleNamespace(description=description, tensors=tensors, logits=logits, words=words)


def test_the_page_is_what_the_tool_computes():
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.worked_example"


def test_modes_and_factors():
    assert says(f"a matrix W of {4 * HIDDEN} × {INPUTS + HIDDEN} = {4 * HIDDEN * (INPUTS + HIDDEN)} numbers")
    assert says(f"input modes n = {N}, which hold {prod(N)} entries for the {INPUTS} inputs and {HIDDEN} hidden units")
    assert says(f"output modes m = {M}, which hold {prod(M)} entries for four gates of {HIDDEN} units")
    stored = {name: [size(index) for index in indices] for name, indices in FACTORS.items()}
    assert {row[0].strip("`"): (row[1].strip("`"), numbers(row[2]), int(row[3])) for row in table("factor")} == {
        name: (", ".join(indices), stored[name], prod(stored[name])) for name, indices in FACTORS.items()
    }
    assert says(f"Together {sum(map(prod, stored.values()))} numbers.")
    model, _ = drawn()
    assert {name: list(factor.shape) for name, factor in model.networks[0].factors.items()} == stored
    faces = find_preset("faces").spec
    assert isinstance(faces, LSTMSpec) and faces.classes == 40
    dense_numbers = sum(4 * faces.hidden * columns for columns in (faces.inputs, faces.hidden))
    held = sum(np.zeros([faces.network.size[i] for i in f.indices]).size for f in faces.network.factors)
    assert says(f"that of the faces preset replaces {dense_numbers:,} numbers by {held:,}.")


def test_places(computed):
    (x_start, x_shape), (h_start, h_shape) = (((0, 0, 0, 0), (2, 2, 2, 2)), ((2, 0, 0, 0), (1, 2, 2, 2)))
    assert says(f"x from `{x_start}` with shape `{x_shape}`, h from `{h_start}` with shape `{h_shape}`")
    assert prod(x_shape) == INPUTS and says(f"the {HIDDEN} units fill the first {HIDDEN} places; the rest is zero")
    points: list[dict[str, int]] = [dict(zip(("n1", "n2", "n3", "n4"), point, strict=True)) for point in np.ndindex(*N)]
    (layer,), places = computed.description["layers"], program()["places"]
    filled = [*places(layer["x"], N), *places(layer["h"], N)]
    assert filled == [k for k, point in enumerate(points) if placed(point)] == list(range(INPUTS + HIDDEN))
    terms = N[0] * N[1]
    assert says(f"it adds {terms // N[0]} terms to each sum of the first stage below, {terms} in place of {2 * N[1]}.")
    gates = {row[0].strip("`"): (numbers(row[1]), numbers(row[2])) for row in table("gate")}
    z = np.arange(prod(M)).reshape(M)
    boxes = [z[tuple(slice(a, a + n) for a, n in zip(*gates[gate], strict=True))].flatten().tolist() for gate in "ifgo"]
    assert boxes == [places(region, M).tolist() for region in layer["gates"]]
    assert sorted(place for box in boxes for place in box) == list(range(4 * HIDDEN))


def test_multiplications():
    everywhere, useful = multiplications(STAGES, lambda _: True), multiplications(STAGES, placed)
    one_by_one = sum(multiplications(tuple((name,) for name in ORDER), lambda _: True))
    rows = table("stage | absorbs")
    assert [row[1].replace("`", "").split(" ∘ ") for row in rows] == [list(group) for group in STAGES]
    assert [int(row[-1]) for row in rows] == everywhere
    assert says(f"Together {sum(everywhere)} multiplications per step; one factor at a time from the left it would be")
    assert says(f"from the left it would be {one_by_one}, the dense matrix {4 * HIDDEN * (INPUTS + HIDDEN)}.")
    assert says(f"carries out all {sum(everywhere)}, but only {sum(useful)} of them are useful")
    assert says(f"fill {INPUTS + HIDDEN} of the {prod(N)} entries of the data tensor, and the other 4 are zero")
    assert prod(N) - INPUTS - HIDDEN == 4
    assert says(f"meets the 8 rows of stage 0, which so has 20 × 8 = {useful[0]} useful multiplications in place of")
    assert says(f"in place of 24 × 8 = {everywhere[0]}; stage 1 has no such zeros.") and useful[1] == everywhere[1]
    assert says(f"below count the {sum(useful)}.") and says(f"one step, {sum(useful)} MACs per step")


def test_order_of_the_indices(computed):
    (network, stage_list) = computed.description["layers"][0]["network"], computed.description["stage_lists"][0]
    data = [f"n{k}" for k in range(1, 5)]
    for row, (weight, of_data, result) in zip(
        table("stage | absorbs"), program()["stages"](network, stage_list), strict=True
    ):
        rows, depth, columns = (re.findall("[nmr][0-9]+", cell) for cell in row[2:5])
        assert (weight, of_data, result) == (rows + depth, data, columns + rows)
        assert [numbers(cell.partition(":")[2]) for cell in row[2:5]] == [
            [size(index) for index in indices] for indices in (rows, depth, columns)
        ]
        data = columns + rows


def test_no_order_that_comes_to_mind_is_faster():
    (_, image), (model, clips), slower = example(), drawn(), 0
    for stages in (tuple((name,) for name in ORDER), (ORDER,), (*STAGES[:1], *((name,) for name in STAGES[1]))):
        other, _ = quantise(model, (stages,), clips, np.array([-1]))
        with suppress(CapacityError):
            assert compile_bundle(other, TARGET).cycles(STEPS) > image.cycles(STEPS)
            slower += 1
    assert slower >= 2


def test_the_weight_of_stage_0(computed):
    start = TEXT.index("The weight of stage 0 (U1 ∘ U2 ∘ B12) in integers, 8 rows × 6:")
    matrix = np.array([numbers(line) for line in TEXT[start:].split("\n\n")[1].splitlines()])
    assert says("down run `m1, m2, r12`, across `n1, n2`.")
    (model, _), stored = drawn(), computed.tensors["weight.0.0"]
    network = model.networks[0]
    factors = {name: network.factors[name].detach().double().numpy() for name in STAGES[0]}
    merged = np.einsum(
        "amx,bny,rab->mnrxy", factors["U1"], factors["U2"], factors["B12"]
    )  # leaves r, m, n; transfer tensors r, left, right
    frac = computed.description["formats"]["chains"][0][0]["weight"]["frac"]
    assert matrix.shape == (2 * 2 * 2, 3 * 2) and f"`s16.{frac}`" in table("stage | data")[0][2]
    assert np.array_equal(matrix, np.floor(merged * 2**frac + 0.5).astype(int).reshape(8, 6))
    assert np.array_equal(matrix, stored.reshape(8, 6))
    pixels = computed.tensors["clips"][0, 0].astype(int)
    column = [(int(pixels[k]) - 128) * 2**7 for k in (0, 4, 8, 12)] + [0, 0]
    total = sum(int(a) * b for a, b in zip(matrix[0], column, strict=True))
    assert says("the pixels 0, 4, 8 and 12, which are " + ", ".join(str(pixels[k]) for k in (0, 4, 8, 12)))
    assert says(f"both 0: {', '.join(map(str, column))}. The first row times this column is {total},")
    result = int(np.floor(total / 2**15 + 0.5))
    assert says(f"and ({total} + 2^14) >> 15 = {result} is the first entry of the result.")
    data = np.zeros(24, dtype=int)
    data[:16] = (pixels - 128) * 128
    whole = np.floor(matrix @ data.reshape(6, 4) / 2**15 + 0.5)
    assert whole[0, 0] == result and np.abs(whole).max() == int(table("stage | data")[0][-1])


def test_formats(computed):
    formats = computed.description["formats"]
    data = formats["gate"]["hidden"]
    assert says("Pixels enter as (pixel − 128), shifted up by 7 bits.")
    assert (formats["input"]["offset"], data["frac"] - formats["input"]["raw"]["frac"]) == (128, 7)
    for row, stage in zip(table("stage | data"), formats["chains"][0], strict=True):
        shown = [f"`s{each['width']}.{each['frac']}`" for each in (data, stage["weight"], stage["result"])]
        assert row[1:4] == shown
        assert int(row[4]) == data["frac"] + stage["weight"]["frac"] - stage["result"]["frac"]
        data = stage["result"]
    works = re.findall(r"CONTRACT K=(\d+) rows=(\d+) .*?shift=(\d+)", TEXT)
    contracted, shifts = table("stage | absorbs"), [row[4] for row in table("stage | data")]
    sizes = [[str(prod(numbers(cell.partition(":")[2]))) for cell in (row[3], row[2])] for row in contracted]
    assert [list(work) for work in works[:2]] == [[*size, shift] for size, shift in zip(sizes, shifts, strict=True)]


def test_result(computed):
    z, c, h = (computed.words[name][0, :, 0] for name in ("z", "c", "h"))
    for step, row in enumerate(table("step")):
        assert [numbers(cell) for cell in row] == [[step], *(each.tolist() for each in (z[step, 0], c[step], h[step]))]
    logits = computed.logits[0].tolist()
    assert says(
        f"After step {STEPS - 1} the head gives the logits {logits[0]}, {logits[1]}: class {logits.index(max(logits))}."
    )
    (cycles,) = re.findall(r"is predicted to take (\d+) cycles for the 3 steps and the head", WORDS)
    assert says(f"288 × 3 ÷ (4 × {cycles}) = {round(100 * 288 * 3 / (4 * int(cycles)), 1)} %")


def test_the_rtl_computes_what_the_page_says():
    bundle, image = example()
    result = simulate(image, bundle.clips)
    assert result.mismatches == [] and result.words_compared == result.words_expected > 0
    assert np.array_equal(result.logits, bundle.logits) and np.array_equal(result.hidden, bundle.hidden)
    assert result.cycles_simulated == result.cycles_predicted == [image.cycles(bundle.clips.shape[1])]
    assert says(f"predicted to take {result.cycles_simulated[0]} cycles for the {STEPS} steps and the head")

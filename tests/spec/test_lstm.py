"""Networks, placements, stage lists, instruction records, bundles and files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bundles import random_bundle, random_spec
from hypothesis import given
from hypothesis import strategies as st

from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FileError, SpecError
from fdht.spec.instructions import array_instruction, gate_instruction, loader_instruction
from fdht.spec.lstm import LSTMSpec, Region, dense_lstm, fdht_lstm, lstm_on, place_data, place_gates
from fdht.spec.network import Factor, TensorNetwork, balanced_tree, dense_network, ht_network
from fdht.spec.stages import stages
from fdht.spec.target import Target, find_target


def test_balanced_tree_names_its_nodes():
    tree = balanced_tree(5, 3)
    assert [node.name for node in tree.walk()] == ["1", "2", "12", "3", "123", "4", "5", "45", "12345"]
    assert [node.rank for node in tree.walk()] == [3] * 8 + [1]


def test_parameters_of_the_paper_size():
    """DESIGN's first example: four leaves of 8 × m × n, two transfer tensors of 8³, a root of 8²."""
    spec = fdht_lstm(57600, 256, 11, (31, 24, 10, 8), (2, 2, 16, 16), 8)
    leaves = 8 * (31 * 2 + 24 * 2 + 10 * 16 + 8 * 16)
    assert spec.parameters == {"factors": leaves + 2 * 8**3 + 8**2, "bias": 4 * 256, "head": 257 * 11}
    assert spec.parameters["factors"] == 4272


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 40), st.integers(1, 400))
def test_placements_never_overlap(shape, hidden, inputs):
    try:
        x, h = place_data(tuple(shape), inputs, hidden)
    except SpecError:
        return
    positions = np.concatenate([x.flat(tuple(shape)), h.flat(tuple(shape))])
    assert len(positions) == len(set(positions.tolist())) == inputs + hidden


@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(1, 40))
def test_gates_never_overlap(shape, hidden):
    try:
        gates = place_gates(tuple(shape), hidden)
    except SpecError:
        return
    positions = np.concatenate([gate.flat(tuple(shape)) for gate in gates])
    assert len(positions) == len(set(positions.tolist())) == 4 * hidden


def test_region_runs_through_its_order():
    region = Region((1, 0), (2, 3), (1, 0), 5)
    assert region.coordinates().tolist() == [[1, 0], [2, 0], [1, 1], [2, 1], [1, 2]]


def test_a_mode_may_be_split():
    """Places in fields and fields: a picture of 4 rows of 6 values as 2 x 3 fields of 2 x 2."""
    region = Region((0, 1, 0), (4, 2, 3), (1, 0, 2, 0), 24, (2, 2, 3, 2))
    place, row_of_field, column_of_field = region.coordinates().T
    row, column = np.divmod(np.arange(24), 6)
    assert (place == 2 * (row % 2) + column % 2).all()
    assert (row_of_field == 1 + row // 2).all() and (column_of_field == column // 2).all()
    with pytest.raises(SpecError, match="do not make up its modes"):
        replace(region, sizes=(2, 2, 3, 3))


@given(st.integers(0, 2**32))
def test_specs_survive_json(seed):
    spec = random_spec(np.random.default_rng(seed))
    assert LSTMSpec.from_json(spec.to_json()) == spec


def test_a_stage_list_gives_each_index_its_role():
    spec = fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3)
    first, second, third = stages(spec.network, (("U1",), ("U2", "B12", "B123"), ("U3",)))
    assert (first.rows, first.reduction, first.columns) == (("r1", "m1"), ("n1",), ("n2", "n3"))
    assert (set(second.rows), set(second.reduction), set(second.columns)) == ({"m2", "r3"}, {"n2", "r1"}, {"n3", "m1"})
    assert set(third.result) == {"m1", "m2", "m3"}


def test_an_index_needed_later_is_a_batch_index():
    """Two factors that both carry an input index: the first keeps it, the second sums it."""
    network = TensorNetwork(
        "test",
        ("n1",),
        ("m1", "m2"),
        (("n1", 3), ("m1", 2), ("m2", 2)),
        (Factor("A", ("m1", "n1")), Factor("B", ("m2", "n1"))),
    )
    first, second = stages(network, (("A",), ("B",)))
    assert first.batch == ("n1",) and first.reduction == ()
    assert second.reduction == ("n1",) and second.batch == ()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fdht_lstm(100, 8, 0, (4, 5, 4), (2, 2, 8), 3), "hold 80 entries, fewer than 100 inputs"),
        (lambda: fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 0), "rank 0; ranks start at 1"),
        (lambda: fdht_lstm(60, 10, 0, (4, 5, 4), (3, 3, 3), 3), "no four equal boxes of 10 units"),
        (lambda: fdht_lstm(60, 10, 0, (4, 5), (2, 2, 10), 3), "must agree"),
        (lambda: fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), {"1": 2}), "no rank given for node"),
        (lambda: dense_lstm(0, 4, 2), "at least one of each"),
        (lambda: ht_network((0, 2), (2, 2), balanced_tree(2, 2)), "n1 has size 0"),
        (lambda: stages(dense_lstm(3, 2, 0).network, (("V",),)), "the stage list names"),
        (lambda: find_target("vu9p"), "no target 'vu9p'; known: icebreaker, ulx3s-85f"),
        (lambda: Target("t", 0, 1), "rows = 0 is outside"),
        (lambda: LSTMSpec.from_json("{}"), "not an LSTM specification"),
    ],
)
def test_errors_say_what_is_wrong(make, says):
    with pytest.raises(SpecError, match=says):
        make()


@pytest.mark.parametrize("record", [array_instruction, loader_instruction, gate_instruction])
@given(data=st.data())
def test_instructions_survive_packing(record, data):
    record = record(Target("test", 3, 5))

    def draw(field):
        if hasattr(field, "fields"):
            return {name: draw(member) for name, member in field.fields.items()}
        if hasattr(field, "length"):
            return [draw(field.element) for _ in range(field.length)]
        low = -(1 << field.width - 1) if field.signed else 0
        return data.draw(st.integers(low, low + (1 << field.width) - 1))

    value = draw(record)
    assert record.decode(record.encode(value)) == value


@pytest.fixture
def bundle() -> Bundle:
    rng = np.random.default_rng(0)
    lower = lstm_on(ht_network((4, 4, 4), (2, 2, 10), balanced_tree(3, 3)), 60, 10, 0, dense_network(10, (2, 2, 10)))
    upper = fdht_lstm(10, 10, 3, (4, 3, 3), (2, 2, 10), 3)
    order = (("U1",), ("U2", "B12", "B123"), ("U3",))
    return random_bundle(rng, (lower, upper), (order, (("W",),), order))


def test_bundles_survive_their_file(bundle, tmp_path):
    digest = bundle.save(tmp_path / "a.bundle")
    again = Bundle.load(tmp_path / "a.bundle")
    assert (again.layers, again.formats, again.stage_lists) == (bundle.layers, bundle.formats, bundle.stage_lists)
    for one, other in zip((*again.weights, again.biases), (*bundle.weights, bundle.biases), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert again.save(tmp_path / "b.bundle") == digest


def test_damaged_files_are_refused(bundle, tmp_path):
    path = tmp_path / "a.bundle"
    bundle.save(path)
    whole = path.read_bytes()
    with pytest.raises(FileError, match="there is no file"):
        Bundle.load(tmp_path / "none")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="damaged"):
        Bundle.load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileError, match="content hash does not match"):
        Bundle.load(path)
    container.write(path, "checkpoint", {}, {})
    with pytest.raises(FileError, match="is a checkpoint, not a bundle"):
        Bundle.load(path)
    path.write_text(json.dumps({}))
    with pytest.raises(FileError, match="damaged or not an fdht file"):
        Bundle.load(path)


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        container.write(tmp_path / "file" / "a.bundle", "bundle", {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""What a file says of itself, and files that are not what they should be."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import suguk
from suguk.asking import COPIES, INPUTS
from suguk.errors import ModelError, UserError
from suguk.export.graph import OUTPUTS, traced
from suguk.export.write import finished, with_metadata
from suguk.runtime import OnnxModel, container, sizes
from tests.export.conftest import LINES, drawn


@pytest.fixture(scope="module")
def content() -> bytes:
    trained = drawn("sutskever2014")
    return with_metadata(finished(traced(trained.model), single=True), trained, {"card": {"license": "CC0"}})


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


def test_a_file_is_loaded_by_its_name(file: Path) -> None:
    model = suguk.load(file)
    assert isinstance(model, OnnxModel)
    assert model.about == {"card": {"license": "CC0"}}
    assert model.config.data.train == ()
    assert len(model.predict(LINES)) == len(LINES)
    with pytest.raises(UserError, match="runs on the processor"):
        suguk.load(file, "cuda")
    with pytest.raises(UserError, match="no attention"):
        model.predict(["a"], attention=True)


def test_it_is_valid_onnx(content: bytes) -> None:
    onnx.checker.check_model(onnx.load_from_string(content))
    model = onnx.load_from_string(content)
    assert tuple(value.name for value in model.graph.input) == INPUTS
    assert tuple(value.name for value in model.graph.output) == OUTPUTS


def test_it_does_not_say_where_the_library_lay(content: bytes) -> None:
    assert str(Path(suguk.__file__).parent).encode() not in content
    assert b".py" not in content


def test_metadata_are_read_as_onnx_reads_them(content: bytes) -> None:
    model = onnx.load_from_string(content)
    assert container.metadata(content, Path("x")) == {one.key: one.value for one in model.metadata_props}


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _other_settings(content: bytes) -> bytes:
    return content.replace(b'"beam":4', b'"beam":5')


def _newer(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    for one in model.metadata_props:
        if one.key == container.VERSION_KEY:
            one.value = "99"
    return bytes(model.SerializeToString())


def _older(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    for one in model.metadata_props:
        if one.key == container.VERSION_KEY:
            one.value = "1"
    return bytes(model.SerializeToString())


def _foreign(_: bytes) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    return bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "cut short|sha256"),
        (_flip, "sha256|cut short"),
        (_other_settings, "sha256"),
        (_newer, "format version '99', this suguk reads 2.*\n.*update suguk"),
        (_older, "format version 1, this suguk reads 2.*\n.*export it again"),
        (_foreign, "not one that suguk exported"),
        (lambda _: b"", "the file is empty"),
        (lambda _: b"hello, I am text\n", "not an ONNX file"),
        (lambda _: b"\xff" * 40, "not an ONNX file"),
    ],
)
def test_a_file_that_is_not_right_is_refused(
    harm: Callable[[bytes], bytes], message: str, file: Path, content: bytes
) -> None:
    file.write_bytes(harm(content))
    with pytest.raises(ModelError, match=message):
        suguk.load(file)


def _changed(content: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    """Changed by somebody who knows how to make a sha256 fit."""
    model = onnx.load_from_string(content)
    change(model)
    kept = [(one.key, one.value) for one in model.metadata_props if one.key != container.DIGEST_KEY]
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)
    model.metadata_props.add(key=container.DIGEST_KEY, value=container.digest(model.SerializeToString()))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (container.VERSION_KEY, "9" * 5000, "format version"),
        (container.CONFIG_KEY, "[" * 100_000, "damaged metadata"),
        (container.ABOUT_KEY, "[" * 100_000, "damaged metadata"),
        (container.ABOUT_KEY, "3", "damaged metadata"),
        (container.SOURCE_KEY, "[" * 100_000, "damaged JSON"),
    ],
)
def test_metadata_that_would_take_a_reader_down(
    key: str, value: str, message: str, file: Path, content: bytes
) -> None:
    def change(model: onnx.ModelProto) -> None:
        next(one for one in model.metadata_props if one.key == key).value = value

    file.write_bytes(_changed(content, change))
    with pytest.raises(ModelError, match=message):
        suguk.load(file)


def _table(model: onnx.ModelProto) -> onnx.TensorProto:
    held: list[onnx.TensorProto] = list(model.graph.initializer)
    return next(one for one in held if one.name.endswith("encoder.embedding.weight"))


def _vast(model: onnx.ModelProto) -> None:
    _table(model).dims[0] = 2**40


def _elsewhere(model: onnx.ModelProto) -> None:
    table = _table(model)
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="/etc/passwd")


def _in_a_node(model: onnx.ModelProto) -> None:
    table = TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    table.external_data.add(key="location", value="secret.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=table))


def _in_a_branch(model: onnx.ModelProto) -> None:
    _in_a_node(inner := onnx.ModelProto())
    inner.graph.name = "inner"
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner.graph))


def _many_dims(model: onnx.ModelProto) -> None:
    _table(model).dims.extend([2**62] * 50_000)


def _fewer_words(model: onnx.ModelProto) -> None:
    table = _table(model)
    table.dims[0] -= 1
    table.raw_data = table.raw_data[: -4 * table.dims[1]]


def _copying(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info(COPIES, TensorProto.INT64, ["B", "S"]))


def _vast_states(model: onnx.ModelProto) -> None:
    held = next(one for one in model.metadata_props if one.key == container.CONFIG_KEY)
    settings = json.loads(held.value)
    settings["model"] |= {"hidden": 10**9, "encoder_hidden": 10**9}
    held.value = json.dumps(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_vast_states, "states of .*000000 numbers, found"),
        (_vast, "take .* bytes, found"),
        (_many_dims, "more than any export"),
        (_elsewhere, "in another file"),
        (_in_a_node, "in another file"),
        (_in_a_branch, "in another file"),
        (_fewer_words, "values for the .* entries of the source's vocabulary"),
        (_copying, "expected the inputs source.*, found source.*, copies"),
    ],
)
def test_sizes_are_those_of_what_is_held(
    change: Callable[[onnx.ModelProto], None], message: str, content: bytes
) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxModel.of(_changed(content, change), Path("x.onnx"))


def test_every_constant_is_seen(content: bytes) -> None:
    expected = [
        (one.name, tuple(one.dims), one.data_type, len(one.raw_data), False)
        for one in onnx.load_from_string(content).graph.initializer
    ]
    assert list(map(tuple, sizes.stored(content))) == expected


def test_every_flipped_bit_is_noticed(content: bytes) -> None:
    """In whatever part of the file; some make it no protocol buffer any more."""
    for place in range(7, len(content), len(content) // 97):
        harmed = content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        with pytest.raises(ModelError):
            OnnxModel.of(harmed, Path("x.onnx"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file\n.*suguk export"):
        suguk.load(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        suguk.load(tmp_path / "folder.onnx")


def test_metadata_of_another_type(content: bytes) -> None:
    with pytest.raises(ModelError, match="damaged or changed"):
        OnnxModel.of(content + bytes([container.METADATA << 3, 8]), Path("x.onnx"))


def _long(tag: int, width: int = 5) -> bytes:
    """A field's tag in so many bytes; in five of them with a bit that ONNX Runtime's parser drops."""
    found = [(tag >> 7 * place) & 127 | 128 for place in range(width - 1)]
    return bytes([*found, 16 if width == 5 else 0])


@pytest.mark.parametrize("nested", [False, True])
def test_fields_under_tags_of_33_bits_are_not_overlooked(nested: bool, content: bytes) -> None:
    """Crafted: an initializer, or a constant of a node, that is read from another file."""
    key, value = _long(0x0A) + b"\x08location", b"\x12\x0asecret.bin"
    entry = key + value
    tensor = b"\x08\x01\x10\x01" + b"\x6a" + bytes([len(entry)]) + entry + b"\x70\x01"
    if nested:
        attribute = b"\x0a\x05value" + b"\x2a" + bytes([len(tensor)]) + tensor
        node = b"\x2a" + bytes([len(attribute)]) + attribute
        graph = b"\x0a" + bytes([len(node)]) + node
    else:
        graph = _long(0x2A) + bytes([len(tensor)]) + tensor
    crafted = content + b"\x3a" + bytes([len(graph)]) + graph
    with pytest.raises(ModelError, match=r"in another file|not an ONNX file"):
        sizes.check(crafted, 7, 7, Path("crafted.onnx"))

"""One model in every form that it could be shipped in: size, speed, score, and whether a batch changes the answer.

    python -m benchmarks.engines RUN SOURCES TARGETS [--lowercase] [--metric bleu] [--threads 2]

RUN is a run directory; SOURCES and TARGETS are parallel text files, of validation and not of test: this decides
something. The rows are PyTorch in single precision, our export in single precision, with weights of seven and of
eight bits, with dynamic quantisation, and with weight-only products of eight and four bits. "With neighbours"
is the largest difference of a token's log probability between a pair alone and the same pair in a batch.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from suguk.answers import TextPredictor
from suguk.data.read import read, references
from suguk.evaluation.report import evaluate
from suguk.export import int8
from suguk.export.bounds import Scope
from suguk.export.graph import traced
from suguk.export.write import finished, with_metadata
from suguk.runtime import OnnxModel
from suguk.trained import TrainedModel

Make = Callable[[onnx.ModelProto], onnx.ModelProto]
BLOCK = 32  # inputs that share a scale, where only weights have few bits
ALONE = 40  # pairs that are scored alone and together


def ours(steps: int) -> Make:
    def make(graph: onnx.ModelProto) -> onnx.ModelProto:
        return int8.Packer(graph, steps).run()

    return make


class Dynamic(int8.Packer):
    """One scale for all activations of a batch, found when they come (DynamicQuantizeLinear).

    ONNX Runtime's own tool takes the products of attention for products with weights in a loop, and the result fails.
    """

    def _product(self, scope: Scope, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        weight = scope.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.ndim != 2 or weight.size < int8.SMALLEST:
            return [node]
        q, unit = int8.pack(weight, 127, axis=0)
        key = hashlib.sha256(q.tobytes()).hexdigest()[:16]
        held = [self._constant((key, "q"), q), self._constant((key, "t"), unit.reshape(-1))]
        x = [f"{node.name}.{part}" for part in ("q", "scale", "zero")]
        return [
            helper.make_node("DynamicQuantizeLinear", [node.input[0]], x),
            helper.make_node(
                "MatMulIntegerToFloat",
                [x[0], held[0], x[1], held[1], x[2]],
                list(node.output),
                domain=int8.DOMAIN,
            ),
        ]


class WeightsOnly(int8.Packer):
    """Weights of `bits` bits with a scale for every BLOCK inputs; activations stay in float32 (MatMulNBits).

    ONNX Runtime's own tool does not see weights that a loop takes from the graph around it.
    """

    def __init__(self, model: onnx.ModelProto, bits: int) -> None:
        super().__init__(model)
        self.bits = bits

    def _product(self, scope: Scope, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        weight = scope.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.ndim != 2 or weight.size < int8.SMALLEST or len(weight) % BLOCK:
            return [node]
        zero = 2 ** (self.bits - 1)
        blocks = weight.T.reshape(weight.shape[1], -1, BLOCK)
        unit = np.maximum(np.abs(blocks).max(axis=2, keepdims=True) / (zero - 1), 1e-20)
        q = (np.rint(blocks / unit) + zero).astype(np.uint8)
        if self.bits == 4:
            q = q[..., ::2] | (q[..., 1::2] << 4)
        key = hashlib.sha256(q.tobytes()).hexdigest()[:16]
        given = [node.input[0], self._constant((key, "q"), q)]
        given.append(self._constant((key, "t"), unit.astype(np.float32).reshape(-1)))
        form = {"K": weight.shape[0], "N": weight.shape[1], "bits": self.bits, "block_size": BLOCK}
        return [helper.make_node("MatMulNBits", given, list(node.output), domain=int8.DOMAIN, **form)]


def weights_only(bits: int) -> Make:
    return lambda graph: WeightsOnly(graph, bits).run()


FORMS: dict[str, Make] = {
    "fp32": lambda graph: graph,
    "int8, weights of seven bits (the default)": ours(63),
    "int8, weights of eight bits": ours(127),
    "dynamic quantisation": lambda graph: Dynamic(graph).run(),
    "weight-only, eight bits": weights_only(8),
    "weight-only, four bits": weights_only(4),
}


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """The table."""
    torch.set_num_threads(arguments.threads)
    trained = TrainedModel.load(arguments.run, "cpu")
    sources, targets = references(read([arguments.sources, arguments.targets]))
    yield (
        "| | MB | load, s | "
        + arguments.metric
        + " | perplexity | beam, tokens/s | greedy one by one, tokens/s | with neighbours |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    weights = (Path(arguments.run) / "model.safetensors").stat().st_size / 1e6
    yield row("PyTorch fp32", weights, 0.0, trained, sources, targets, arguments)
    single = finished(traced(trained.model), single=True)
    for name, make in ((name, FORMS[name]) for name in arguments.only):
        graph = onnx.ModelProto()
        graph.CopyFrom(single)
        try:
            content = with_metadata(make(graph), trained, {})
            began = time.perf_counter()
            model = OnnxModel.of(content, Path(name), arguments.threads)
            load = time.perf_counter() - began
            yield row(name, len(content) / 1e6, load, model, sources, targets, arguments)
        except Exception as fault:
            yield f"| {name} | fails: {str(fault).splitlines()[0][:100]} | | | | | | |"


def row(
    name: str,
    size: float,
    load: float,
    model: TextPredictor,
    sources: list[str],
    targets: list[list[str]],
    arguments: argparse.Namespace,
) -> str:
    model.predict(sources[:20])
    found = evaluate(model, sources, targets, names=(arguments.metric,), lowercase=arguments.lowercase)
    greedy = model.config.predict.model_copy(update={"beam": 1})
    count, began = 0, time.perf_counter()
    for source in sources[: arguments.one_by_one]:
        count += len(model.predict([source], greedy)[0].token_scores)
    one = count / (time.perf_counter() - began)
    first = [group[0] for group in targets[:ALONE]]
    together = model.score(sources[:ALONE], first)
    apart = [model.score([source], [target])[0] for source, target in zip(sources, first, strict=False)]
    moved = max(
        float(np.abs(np.subtract(a.token_scores, b.token_scores)).max())
        for a, b in zip(apart, together, strict=True)
    )
    cells = [name, f"{size:.1f}", f"{load:.2f}", f"{found.scores[arguments.metric].score:.2f}"]
    cells += [f"{found.perplexity:.3f}", f"{found.tokens_per_second:,.0f}", f"{one:,.0f}", f"{moved:.1g}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("sources")
    parser.add_argument("targets")
    parser.add_argument("--metric", default="bleu")
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=FORMS, default=list(FORMS), help="forms besides PyTorch")
    parser.add_argument("--one-by-one", type=int, default=100, help="sources decoded one at a time")
    for line in rows(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()

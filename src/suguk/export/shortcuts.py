"""PyTorch's exporter without running traced code once more to learn what is known of it already.

More than a quarter of the time of an export. What is changed here belongs to PyTorch's inside, and is as it was
afterwards; where another version has it under another name, it takes its time.
"""

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop_op
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.onnx._internal.exporter._registration import ONNXRegistry


@contextmanager
def shortcuts() -> Iterator[None]:
    """Inside, nothing is run twice."""
    with ExitStack() as stack:
        # PyTorch's cache of shapes costs more here than it saves: a quarter of the whole time.
        stack.enter_context(torch._dynamo.config.patch(fake_tensor_cache_enabled=False))
        stack.enter_context(_loops_not_run())
        stack.enter_context(_promotion_by_what_is_known())
        stack.enter_context(_patterns_of_the_same_operator())
        stack.enter_context(_translations_listed_once())
        yield


@contextmanager
def _loops_not_run() -> Iterator[None]:
    """What a loop gives back has the sizes and types of what it carries: no need to run its body for them."""
    known: dict[Any, Any] = getattr(while_loop_op, "python_key_table", {})
    usual = known.get(FakeTensorMode)
    if usual is None:
        yield
        return
    known[FakeTensorMode] = _like_before
    try:
        yield
    finally:
        known[FakeTensorMode] = usual


def _like_before(
    mode: FakeTensorMode, _condition: Any, _body: Any, carried: Sequence[Tensor], *_: Any, **__: Any
) -> tuple[Tensor, ...]:
    with mode:
        return tuple(torch.empty_like(one) for one in carried)


@contextmanager
def _promotion_by_what_is_known() -> Iterator[None]:
    """Where types are mixed, a cast is put in; tracing has noted the result of every operator that stays as it is."""
    try:
        inside: Any = import_module("torch.onnx._internal.fx.passes.type_promotion")
        kind, rule_of = inside._TypePromotionInterpreter, inside.get_type_promotion_rule
        usual = kind.run_node
    except (ImportError, AttributeError):
        yield
        return

    def run_node(self: Any, node: torch.fx.Node) -> Any:
        given = node.args, node.kwargs
        with self._set_current_node(node):
            rule = rule_of(node, self.type_promotion_table)
            if rule:
                self._maybe_promote_node(node, rule)
        if (node.args, node.kwargs) == given and "val" in node.meta:
            return node.meta["val"]
        return super(kind, self).run_node(node)

    kind.run_node = run_node
    try:
        yield
    finally:
        kind.run_node = usual


@contextmanager
def _patterns_of_the_same_operator() -> Iterator[None]:
    """Every pattern is looked for at every node, and some go through the whole graph before they compare operators."""
    try:
        kind: Any = import_module("onnxscript.rewriter._matcher").SimplePatternMatcher
        no_match: Any = import_module("onnxscript.rewriter._basics").MatchResult
        usual = kind.match
    except (ImportError, AttributeError):
        yield
        return

    def match(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if not self.pattern.output_nodes[0].op.matches(node.op_type):
            return no_match().fail("another operator", node)
        return usual(self, model, graph, node, **options)

    kind.match = match
    try:
        yield
    finally:
        kind.match = usual


@contextmanager
def _translations_listed_once() -> Iterator[None]:
    """The list of translations is made anew whenever it is asked for, from their source code."""
    usual = vars(ONNXRegistry)["from_torchlib"]

    def listed(opset_version: int = ONNXRegistry().opset_version) -> ONNXRegistry:
        registry = copy.copy(_listed(opset_version))
        registry.functions = {target: list(ways) for target, ways in registry.functions.items()}
        return registry

    ONNXRegistry.from_torchlib = staticmethod(listed)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = usual  # type: ignore[method-assign]


_listed = functools.cache(ONNXRegistry.from_torchlib)

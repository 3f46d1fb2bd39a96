"""The faults that a source file may be given: each changes one expression, the rest of the text stays as it is."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
PAIRS = (
    ("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("floor", "ceil"), ("any", "all"), ("mean", "sum"),
    ("zeros", "ones"), ("std", "var"), ("union1d", "intersect1d"), ("clamp_min", "clamp_max"),
)  # fmt: skip
CALLED = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
EITHER_WAY = (
    "isinstance",
    "max",
    "min",
    "maximum",
    "minimum",
    "union1d",
    "array_equal",
)  # order is nothing, or a crash
Code = ast.expr | ast.stmt


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        line: of the first changed character, from 1.
        name: what kind of change.
        before, after: the text that goes and the text that comes.
        source: the whole file with the fault.
    """

    line: int
    name: str
    before: str
    after: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every fault that this source may be given, in the order of the text.

    Left alone are annotations, docstrings, messages of errors, asserts, and imports for type checkers.
    """
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    encoded = source.encode()
    found = []
    for node, changed, name in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before, after = encoded[start:end].decode(), ast.unparse(changed)
        if isinstance(node, ast.expr):
            after = f"({after})"
        text = (encoded[:start] + after.encode() + encoded[end:]).decode()
        found.append(Mutant(node.lineno, name, before, after, text))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.before, mutant.after))


def _changes(tree: ast.AST) -> Iterator[tuple[Code, ast.AST, str]]:
    for node in _seen(tree):
        for old, new, name in _of(node):
            yield old, ast.fix_missing_locations(new), name


def _seen(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, but what no test could or should see."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_comment", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Of reshape(-1) any negative number is the same.
            if isinstance(child, ast.AST) and not (ast.unparse(child) == "-1" and _named(node) == "reshape"):
                yield from _seen(child)


def _of(node: ast.AST) -> Iterator[tuple[Code, ast.AST, str]]:
    """What is replaced by what: the node itself, or a part of it."""
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in COMPARE[type(op)]:
                    yield node, _with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]]), "comparison"
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _is_text(node.left) and not _is_text(node.right):
            yield node, _with(node, op=ARITHMETIC[type(op)]()), "arithmetic"
        case ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield node, _with(node, op=ARITHMETIC[type(op)]()), "arithmetic"
        case ast.BoolOp(op=op):
            yield node, _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And()), "and/or"
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub()):
            yield node, node.operand, "dropped negation"
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value), "constant"
        case ast.Constant(value=int(value)):
            yield node, ast.Constant(value + 1), "constant"
        case ast.Constant(value=float(value)):
            yield node, ast.Constant(value * 2 or 1.0), "constant"
        case ast.Call():
            for changed, name in _of_call(node):
                yield node, changed, name
        case ast.IfExp(test=test) | ast.If(test=test) | ast.While(test=test):
            if not isinstance(test, ast.UnaryOp | ast.Compare):  # they have faults of their own
                yield test, ast.UnaryOp(ast.Not(), test), "negated condition"
        case ast.Return(value=ast.Tuple(elts=[first, second, *rest]) as value) if ast.unparse(first) != ast.unparse(
            second
        ):
            yield value, ast.Tuple([second, first, *rest]), "return value"
        case ast.Return(value=ast.BinOp() | ast.Name() | ast.Attribute() | ast.Subscript() as value):
            yield value, ast.UnaryOp(ast.USub(), value), "return value"
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper)) if (lower is None) != (upper is None):
            yield node, _with(node, slice=ast.Slice(lower=upper, upper=lower)), "other end of a slice"


def _of_call(node: ast.Call) -> Iterator[tuple[ast.AST, str]]:
    match node.func:
        case ast.Attribute(attr=attr) if attr in CALLED:
            yield _with(node, func=_with(node.func, attr=CALLED[attr])), "called function"
        case ast.Name(id="min" | "max" | "any" | "all" as name):
            yield _with(node, func=ast.Name(CALLED[name])), "called function"
    for i, keyword in enumerate(node.keywords):
        rest = [*node.keywords[:i], *node.keywords[i + 1 :]]
        match keyword:
            case ast.keyword(arg="axis" | "dim" as arg, value=ast.Constant(value=int(value))):
                yield _with(node, keywords=[*rest, ast.keyword(arg, ast.Constant(1 - value))]), "axis"
            case ast.keyword(arg=arg, value=ast.Constant(value="left" | "right" as side)):
                other = "right" if side == "left" else "left"
                yield _with(node, keywords=[*rest, ast.keyword(arg, ast.Constant(other))]), "side"
        if keyword.arg in ("ddof", "axis", "dim", "kind"):
            yield _with(node, keywords=rest), "dropped argument"
    named = ast.unparse(node.func).removeprefix("np.")
    if len(node.args) == 2 and not node.keywords and named not in EITHER_WAY:
        yield _with(node, args=node.args[::-1]), "swapped arguments"


def _named(node: ast.AST) -> str:
    """What a call calls, without what stands before the dot."""
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))

"""Mutants of what verifies and decides: a file's refusals, conditions, bounds and findings, each changed by itself.

Made from the syntax tree; the text around a change stays as it was, so lines keep their numbers. Words for people are
left alone: whatever stands inside a ``raise``, in the arguments of a finding that only explain, or in an f-string.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("refusal", "comparison", "and/or", "not", "bound", "finding", "quantifier")
"""A refusal taken out; a comparison turned; ``and``/``or`` exchanged or one operand dropped; a ``not`` dropped; a bound
moved by one; a finding that refuses made a note; ``any``/``all`` and ``min``/``max`` exchanged."""

TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
QUANTIFIERS = {"any": "all", "all": "any", "min": "max", "max": "min"}
REFUSING = ("FAILED", "UNKNOWN")
WORDS = {"hint", "where", "what", "shown", "text", "actual", "expected", "because"}
"""Names and keywords that hold words for people."""

DOWN = (ast.Lt, ast.GtE)
UP = (ast.Gt, ast.LtE)
"""Where a bound on the right, on the left, is moved down: up is what turning the comparison does already."""


class Mutant(NamedTuple):
    """One change: ``source`` is the whole file with it; ``lines`` are the statement's, None outside functions."""

    file: str
    line: int
    function: str
    kind: str
    change: str
    lines: range | None
    source: str


class Place(NamedTuple):
    """Where a node stands: the function's name, and its statement's lines (of a compound one, its head's)."""

    function: str = ""
    lines: range | None = None


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of ``file``, by line."""
    tree = ast.parse(source)
    found = [
        Mutant(file, node.lineno, place.function, kind, change, place.lines, _with(source, node, text))
        for node, place in _nodes(tree, Place())
        for kind, change, text in _changes(node, place)
    ]
    return sorted(found, key=lambda item: item.line)


def _nodes(node: ast.AST, place: Place) -> Iterator[tuple[ast.stmt | ast.expr, Place]]:
    """The statements and expressions that may be changed, each with its place."""
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = Place(f"{place.function}.{child.name}".lstrip("."), None)
        elif isinstance(child, ast.stmt) and place.function:
            inner = Place(place.function, _head(child))
        if isinstance(child, ast.stmt | ast.expr):
            yield child, inner
        if not _silent(child):
            yield from _nodes(child, inner)


def _head(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    end = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(end, statement.lineno) + 1)


def _silent(node: ast.AST) -> bool:
    """Whether ``node`` holds nothing but words for people."""
    if isinstance(node, ast.keyword):
        return node.arg in WORDS
    if isinstance(node, ast.Assign):
        return all(isinstance(item, ast.Name) and item.id in WORDS for item in node.targets)
    return isinstance(node, ast.Raise | ast.JoinedStr)


def _changes(node: ast.stmt | ast.expr, place: Place) -> Iterator[tuple[str, str, str]]:
    """Kind, what is shown of the change, and the text in the place of ``node``."""
    was = ast.unparse(node)
    if isinstance(node, ast.Raise) and node.exc is not None:
        yield "refusal", " ".join(was.split())[:90], "pass"
    elif not place.function:
        for moved in _constant(node):
            yield "bound", f"{was} → {moved}", moved
    for kind, changed in _expressions(node):
        yield kind, f"{was} → {ast.unparse(changed)}", f"({ast.unparse(changed)})"


def _expressions(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and/or", ast.BoolOp(other, node.values)
            for at in range(len(node.values)):
                rest = node.values[:at] + node.values[at + 1 :]
                yield "and/or", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not()):
            yield "not", node.operand
        case ast.Attribute(value=ast.Name(id="Outcome"), attr=name) if name in REFUSING:
            yield "finding", ast.Attribute(node.value, "NOTE", node.ctx)
        case ast.Name(id=name, ctx=ast.Load()) if name in QUANTIFIERS:
            yield "quantifier", ast.Name(QUANTIFIERS[name], node.ctx)


def _compared(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    for at, operator in enumerate(node.ops):
        changed = copy.deepcopy(node)
        changed.ops[at] = TURNED[type(operator)]()
        yield "comparison", changed
    for at, operand in enumerate([node.left, *node.comparators]):
        if not _number(operand):
            continue
        operator = node.ops[max(at - 1, 0)]
        down = isinstance(operator, DOWN if at else UP)
        changed = copy.deepcopy(node)
        moved = ast.BinOp(copy.deepcopy(operand), ast.Sub() if down else ast.Add(), ast.Constant(1))
        if at:
            changed.comparators[at - 1] = moved
        else:
            changed.left = moved
        yield "bound", changed


def _constant(node: ast.AST) -> Iterator[str]:
    """A named number of the module, moved by one either way."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name) or not _number(node.value):
        return
    name, value = node.targets[0].id, ast.unparse(node.value)
    if name.isupper():
        yield from (f"{name} = {value if value.isalnum() else f'({value})'} {sign} 1" for sign in "+-")


def _number(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) is int
        case ast.BinOp(left=left, op=ast.Mult() | ast.LShift() | ast.Add() | ast.Sub() | ast.Pow(), right=right):
            return _number(left) and _number(right)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _number(operand)
    return False


def _with(source: str, node: ast.stmt | ast.expr, text: str) -> str:
    """``source`` with ``text`` in the place of ``node``, on as many lines; columns count bytes."""
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    if isinstance(node, ast.stmt):
        text += "\n" * (last - first)
    elif last > first:  # only inside brackets may an expression be broken into lines
        text = "(" + text + "\n" * (last - first) + ")"
    changed = lines[first][: node.col_offset] + text.encode() + lines[last][node.end_col_offset :]
    return b"".join([*lines[:first], changed, *lines[last + 1 :]]).decode()

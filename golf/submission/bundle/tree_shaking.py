"""Reduce source files to what one of them uses: functions, classes, methods, constants and imports.

Left out is what stands at the top level of a module, as a whole, and methods of classes without a base class, whose
callers all say their name. A name counts as used wherever it stands in code that is kept, local or not, so that more
may be kept than runs. Statements that are neither definitions nor imports are always kept. What only a decorator
registers, or only a computed name finds, is not seen.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["shake_sources"]

_Key = tuple[str, str]  # a module's dotted name and a name at its top level; "": the module alone, "*": all of it
_ALL = "*"
_Import = ast.Import | ast.ImportFrom
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def shake_sources(sources: Mapping[str, str], root: str, *, excluded: Collection[str] = ()) -> dict[str, str]:
    """Return the reduced source of each module that ``root`` reaches, each after all that it imports.

    sources: by dotted module name. What is imported from other modules, of installed packages, is kept where it is
    used. root: the module that is kept whole. Imports inside functions count. Two modules must not import each other.
    excluded: modules, functions and classes ``package.module.name``, and methods ``package.module.Class.method``, that
    nothing uses although code that is kept has their name. A module's own imports of them go.
    Raises SyntaxError for a source that does not parse.
    """
    own_modules = sources.keys() - set(excluded)
    trees = {name: _drop_excluded(ast.parse(sources[name]), name, excluded) for name in own_modules}
    modules = {name: _Module.index(tree, own_modules) for name, tree in trees.items()}
    shaker = _Shaker(modules, excluded)
    shaker.keep_all(root)
    trees = shaker.reduce()
    return {name: ast.unparse(ast.fix_missing_locations(trees[name])) for name in _sort_by_imports(trees)}


def _drop_excluded(tree: ast.Module, name: str, excluded: Collection[str]) -> ast.Module:
    """The module ``name`` without definitions that are excluded, and without imports of what is."""
    body: list[ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, _Import):
            base = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
            is_kept = base.rstrip(".") not in excluded
            statement.names = [alias for alias in statement.names if is_kept and base + alias.name not in excluded]
            body += [statement] * bool(statement.names)
        elif not any(f"{name}.{bound}" in excluded for bound in _bound_names(statement)):
            body.append(statement)
    tree.body = body
    return tree


@dataclass
class _Module:
    """A module's statements: definitions by the names that they bind, and the others, which are always kept.

    bindings: imported names of other sources with what they stand for.
    """

    tree: ast.Module
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    bindings: dict[str, _Key] = field(default_factory=dict)

    @classmethod
    def index(cls, tree: ast.Module, own_modules: Collection[str]) -> "_Module":
        module = cls(tree)
        for statement in tree.body:
            if isinstance(statement, _Import):
                module.bindings |= _resolve_import(statement, own_modules)
            elif names := _bound_names(statement):
                module.definitions |= dict.fromkeys(names, statement)
            else:
                module.effects.append(statement)
        return module


@dataclass
class _Shaker:
    """Collects what is kept.

    mentions: attributes and strings in kept code. waiting: methods of kept classes that nothing has mentioned yet, by
    name, with their module.
    """

    modules: dict[str, _Module]
    excluded: Collection[str]
    kept: set[_Key] = field(default_factory=set)
    kept_statements: set[ast.AST] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    waiting: dict[str, list[tuple[str, _Function]]] = field(default_factory=dict)

    def keep_all(self, root: str) -> None:
        """Keep all of a module, and what that needs."""
        pending: list[_Key] = [(root, _ALL)]
        while pending:
            key = pending.pop()
            if key not in self.kept:
                self.kept.add(key)
                pending += self._keep(*key)

    def _keep(self, name: str, attribute: str) -> Iterator[_Key]:
        """Keep one name of a module; yield the names that this needs."""
        module = self.modules[name]
        if attribute == "":
            for statement in module.effects:
                yield from self._keep_code(name, statement)
            return
        yield name, ""
        if attribute == _ALL:
            yield from ((name, defined) for defined in module.definitions)
        elif attribute in module.definitions:
            yield from self._keep_definition(name, module.definitions[attribute])
        elif attribute in module.bindings:
            yield module.bindings[attribute]

    def _keep_definition(self, name: str, statement: ast.stmt) -> Iterator[_Key]:
        if statement in self.kept_statements:
            return
        self.kept_statements.add(statement)
        if not isinstance(statement, ast.ClassDef) or statement.bases:
            yield from self._keep_code(name, statement)
            return
        for part in [*statement.decorator_list, *statement.keywords, *statement.body]:
            if isinstance(part, _Function) and f"{name}.{statement.name}.{part.name}" in self.excluded:
                continue
            if isinstance(part, _Function) and not _is_dunder(part.name) and part.name not in self.mentions:
                self.waiting.setdefault(part.name, []).append((name, part))
            else:
                self.kept_statements.add(part)
                yield from self._keep_code(name, part)

    def _keep_code(self, name: str, code: ast.AST) -> Iterator[_Key]:
        """Yield what a piece of code mentions, and what the methods that it mentions need."""
        yield from _list_uses(code, self.modules[name], name, self.modules.keys())
        new_mentions = set(_list_mentions(code)) - self.mentions
        self.mentions |= new_mentions
        for mention in sorted(new_mentions):
            for owner, method in self.waiting.pop(mention, ()):
                self.kept_statements.add(method)
                yield from self._keep_code(owner, method)

    def reduce(self) -> dict[str, ast.Module]:
        """Return the modules that are kept, without what is not."""
        return {name: self._reduce_module(name) for name in sorted({name for name, _ in self.kept})}

    def _reduce_module(self, name: str) -> ast.Module:
        module = self.modules[name]
        kept = {statement for statement in module.tree.body if statement in self.kept_statements}
        kept |= set(module.effects)
        for statement in kept:
            if isinstance(statement, ast.ClassDef) and not statement.bases:
                statement.body = [part for part in statement.body if part in self.kept_statements] or [ast.Pass()]
        mentioned = {node.id for statement in kept for node in ast.walk(statement) if isinstance(node, ast.Name)}
        mentioned |= {bound for bound in module.bindings if (name, bound) in self.kept}  # what others import from here
        body: list[ast.stmt] = []
        for statement in module.tree.body:
            if isinstance(statement, _Import):
                statement.names = [alias for alias in statement.names if _binding(alias) in mentioned]
                body += [statement] * bool(statement.names)
            elif statement in kept:
                body.append(statement)
        return ast.Module(body, type_ignores=[])


def _bound_names(statement: ast.stmt) -> list[str]:
    """The names that a definition binds; none for a statement that may do anything else."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    nodes = [node for target in targets for node in (target.elts if isinstance(target, ast.Tuple) else [target])]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return names if len(names) == len(nodes) else []


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _binding(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _resolve_import(statement: _Import, own_modules: Collection[str]) -> dict[str, _Key]:
    """What each name that an import binds stands for, of the sources alone."""
    bindings: dict[str, _Key] = {}
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            if f"{statement.module}.{alias.name}" in own_modules:
                bindings[_binding(alias)] = (f"{statement.module}.{alias.name}", "")
            elif statement.module in own_modules:
                bindings[_binding(alias)] = (statement.module or "", alias.name)
        elif alias.asname and alias.name in own_modules:
            bindings[alias.asname] = (alias.name, "")
    return bindings


def _list_uses(code: ast.AST, module: _Module, name: str, own_modules: Collection[str]) -> Iterator[_Key]:
    """The names at the top level of modules that a piece of code of the module ``name`` mentions."""
    bindings = dict(module.bindings)
    for node in ast.walk(code):
        if isinstance(node, _Import):
            imported = _resolve_import(node, own_modules)
            bindings |= imported
            yield from imported.values()
    bases = set()  # modules that stand before a dot: only that attribute of them is used
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = bindings.get(node.value.id)
            if target and not target[1]:
                bases.add(node.value)
                yield target[0], node.attr
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and node not in bases:
            if node.id in module.definitions:
                yield name, node.id
            elif target := bindings.get(node.id):
                yield target if target[1] else (target[0], _ALL)


def _list_mentions(code: ast.AST) -> Iterator[str]:
    """Names that may be those of methods: attributes, strings, and bare names, as a property's setter has."""
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _sort_by_imports(trees: Mapping[str, ast.Module]) -> list[str]:
    """The modules, each after those that it imports anywhere; by name where this leaves a choice."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for imported in sorted(_list_imported(trees[name], trees.keys())):
                visit(imported)
            ordered[name] = None

    for name in sorted(trees):
        visit(name)
    return list(ordered)


def _list_imported(tree: ast.Module, own_modules: Collection[str]) -> set[str]:
    imports = (node for node in ast.walk(tree) if isinstance(node, _Import))
    return {module for node in imports for module, _ in _resolve_import(node, own_modules).values()}

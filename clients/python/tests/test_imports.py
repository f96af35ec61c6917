"""The modules of the package build upon each other, and not in a circle."""

import ast
import graphlib
import unittest
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def imported(path):
    """The files that one imports when it runs, within functions too. What only types need is left out."""
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            module = folder.with_suffix(".py")
            found = [module] if module.is_file() else [folder / f"{name.name}.py" for name in node.names]
            yield from (file for file in found if file.is_file())
        waiting.extend(ast.iter_child_nodes(node))


class Imports(unittest.TestCase):
    def test_no_module_imports_one_that_imports_it(self):
        paths = sorted(SOURCE.rglob("*.py"))
        graph = {path: set(imported(path)) for path in paths}
        names = {path: str(path.relative_to(SOURCE)) for path in paths}
        self.assertIn(SOURCE / "jailfleet/door.py", graph[SOURCE / "jailfleet/client.py"])
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            self.fail(" -> ".join(names[path] for path in reversed(error.args[1])))

"""What import-linter's contracts in pyproject.toml cannot say: no circle of any files."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def check_acyclic(graph: grimp.ImportGraph) -> None:
    """Raises CycleError, whose second argument is one circle of modules."""
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()


def test_files_import_one_another_in_no_circle():
    # import-linter looks at siblings; a package that imports its own file, which imports the
    # package, is a circle too. Imports in functions count, those for the type checker do not.
    check_acyclic(grimp.build_graph("convlens", exclude_type_checking_imports=True, cache_dir=None))


def test_a_package_and_its_file_that_import_each_other_are_a_circle():
    graph = grimp.ImportGraph()
    for name in "package", "package.file":
        graph.add_module(name)
    graph.add_import(importer="package", imported="package.file")
    check_acyclic(graph)
    graph.add_import(importer="package.file", imported="package")
    with pytest.raises(CycleError):
        check_acyclic(graph)

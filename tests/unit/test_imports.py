"""No modules import each other in a circle, also not inside functions; only annotations may."""

import grimp
import networkx


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("compose", "runtime", exclude_type_checking_imports=True, cache_dir=None)
    edges = [(module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)]
    assert len(edges) > 2000
    circles = [
        sorted(each) for each in networkx.strongly_connected_components(networkx.DiGraph(edges)) if len(each) > 1
    ]
    assert circles == []

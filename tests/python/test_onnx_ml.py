"""ONNX: ai.onnx.ml against ONNX's reference, hostile trees, ai.onnx.preview.training."""

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx.reference import ReferenceEvaluator

import suan
import suan.onnx

ML = "ai.onnx.ml"
F = 5
X = np.random.default_rng(0).normal(size=(7, F)).astype(np.float32)


def build(op, inputs, outputs=1, version=3, **attrs):
    ports = [h.make_tensor_value_info(n, T.STRING if a.dtype == object else h.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for n, a in inputs.items()]  # fmt: skip
    out = [f"y{k}" for k in range(outputs)]
    graph = h.make_graph([h.make_node(op, list(inputs), out, domain=ML, **attrs)], "g", ports, [h.make_empty_tensor_value_info(n) for n in out])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21), h.make_opsetid(ML, version)], ir_version=10)


def run(op, *inputs, outputs=1, version=3, **attrs):
    feeds = {f"x{i}": a for i, a in enumerate(inputs)}
    return suan.onnx.InferenceSession(build(op, feeds, outputs, version, **attrs).SerializeToString()).run(None, feeds)


def as_reference(op, *inputs, outputs=1, version=3, tolerance=1e-5, **attrs):
    feeds = {f"x{i}": a for i, a in enumerate(inputs)}
    m = build(op, feeds, outputs, version, **attrs)
    s = suan.onnx.InferenceSession(m.SerializeToString())
    with np.errstate(all="ignore"):
        want = ReferenceEvaluator(m).run(None, feeds)
    for g, w in zip(s.run(None, feeds), want):
        w = np.asarray(w)
        assert g.shape == w.shape
        if w.dtype.kind in "OUS":
            assert g.tolist() == w.tolist()
        else:
            np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


def random_list(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).ravel().tolist()


# ---- encoders and scalers -----------------------------------------------------------------------------


def test_features():
    as_reference("Scaler", X, offset=[0.1, 0.2, 0.3, 0.4, 0.5], scale=[1.0, 2.0, 3.0, 4.0, 5.0])
    as_reference("Binarizer", X, threshold=0.25)
    for norm in ("L1", "L2"):
        as_reference("Normalizer", np.concatenate([X, 0 * X[:1]]), norm=norm)
    # As ONNX Runtime: the greatest value, not the greatest absolute one.
    np.testing.assert_allclose(run("Normalizer", X, norm="MAX")[0], X / X.max(1, keepdims=True), rtol=1e-6)
    holes = X.copy()
    holes[0, 0] = holes[2, 3] = np.nan
    as_reference("Imputer", holes, imputed_value_floats=[1.0, 2.0, 3.0, 4.0, 5.0], replaced_value_float=float("nan"))
    (y,) = run("Imputer", np.int64([[0, 2], [3, 0]]), imputed_value_int64s=[9], replaced_value_int64=0)
    assert y.tolist() == [[9, 2], [3, 9]]
    as_reference("FeatureVectorizer", X, X[:, :2], inputdimensions=[3, 4])
    as_reference("OneHotEncoder", np.int64([[1, 2], [0, 5]]), cats_int64s=[1, 2, 0], zeros=1)
    as_reference("OneHotEncoder", np.array(["a", "z"], object), cats_strings=["b", "a"], zeros=1)
    with pytest.raises(ValueError, match="unknown category"):
        run("OneHotEncoder", np.int64([7]), cats_int64s=[1], zeros=0)


WORDS = np.array([["a", "b"], ["z", "c"]], object)


def test_tables():
    as_reference("LabelEncoder", WORDS, keys_strings=["a", "b", "c"], values_int64s=[4, 5, 6], default_int64=42)
    as_reference("LabelEncoder", np.int64([1, 2, 9]), keys_int64s=[1, 2], values_strings=["x", "y"], default_string="?")
    as_reference("LabelEncoder", np.float32([1, 2.5, 7]), keys_floats=[1, 2.5], values_floats=[3.0, 4.0], default_float=-7.0)
    assert run("LabelEncoder", WORDS, version=1, classes_strings=["a", "b"], default_int64=-3)[0].tolist() == [[0, 1], [-3, -3]]
    assert run("LabelEncoder", np.int64([1, 7]), version=1, classes_strings=["a", "b"], default_string="?")[0].tolist() == ["b", "?"]
    assert run("CategoryMapper", WORDS, cats_strings=["a", "c"], cats_int64s=[7, 8])[0].tolist() == [[7, -1], [-1, 8]]
    assert run("CategoryMapper", np.int64([8]), cats_strings=["a", "c"], cats_int64s=[7, 8])[0].tolist() == ["c"]
    with pytest.raises(ValueError, match="differ in number"):
        run("LabelEncoder", np.int64([1]), keys_int64s=[1, 2], values_int64s=[1])


def test_maps():
    (maps,) = run("ZipMap", X[:2, :2], classlabels_strings=["a", "b"])
    assert maps == [{"a": float(r[0]), "b": float(r[1])} for r in X[:2]]
    (maps,) = run("ZipMap", X[:1, :2], classlabels_int64s=[4, 9])
    assert list(maps[0]) == [4, 9]

    def of_map(op, keys, value, **attrs):
        kind = h.make_map_type_proto(keys, h.make_tensor_type_proto(T.FLOAT, []))
        node = h.make_node(op, ["x"], ["y"], domain=ML, **attrs)
        graph = h.make_graph([node], "g", [h.make_value_info("x", kind)], [h.make_empty_tensor_value_info("y")])
        m = h.make_model(graph, opset_imports=[h.make_opsetid("", 21), h.make_opsetid(ML, 3)], ir_version=10)
        return suan.onnx.InferenceSession(m.SerializeToString()).run(None, {"x": value})[0].tolist()

    assert of_map("DictVectorizer", T.STRING, {"a": 4.5, "c": 8.0}, string_vocabulary=["a", "c", "b"]) == [[4.5, 8, 0]]
    assert of_map("DictVectorizer", T.INT64, {7: 4.5}, int64_vocabulary=[5, 7]) == [[0, 4.5]]
    assert of_map("CastMap", T.INT64, {7: 4.5, 5: 8.0}) == [[8, 4.5]]
    assert of_map("CastMap", T.INT64, {2: 4.5, 0: 8.0}, map_form="SPARSE", max_map=4, cast_to="TO_INT64") == [[8, 0, 4, 0]]
    with pytest.raises(IndexError, match="key out of range"):
        of_map("CastMap", T.INT64, {9: 1.0}, map_form="SPARSE", max_map=4)
    with pytest.raises(TypeError, match="no map: expected one"):
        of_map("CastMap", T.INT64, X)


# ---- linear models and support vectors ----------------------------------------------------------------

LABELS = [{"classlabels_ints": [5, 7, 9]}, {"classlabels_strings": ["a", "b", "c"]}, {"classlabels_ints": [3, 4]}]


@pytest.mark.parametrize("labels, after", [
    (labels, after) for labels in LABELS for after in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    if (labels, after) != (LABELS[2], "PROBIT")], ids=str)   # a score and its opposite are no probabilities
def test_linear_classifier(labels, after):
    k = 3 if "a" in str(labels) and "b" in str(labels) and len(next(iter(labels.values()))) == 3 else 1
    w, b = random_list(1, k, F), random_list(2, k)
    if after == "PROBIT":   # of probabilities
        w, b = [0.01 * v for v in w], [0.5] * k
    as_reference("LinearClassifier", X, outputs=2, coefficients=w, intercepts=b, post_transform=after, **labels)


def test_linear_regressor():
    as_reference("LinearRegressor", X, coefficients=random_list(0, 3, F), intercepts=[0.5, 1.0, 2.0], targets=3)
    with pytest.raises(ValueError, match="coefficients do not fit"):
        run("LinearRegressor", X, coefficients=[1.0], intercepts=[0.5], targets=1)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_support_vectors(kernel):
    common = {"kernel_type": kernel, "kernel_params": [0.4, 0.2, 3.0], "support_vectors": random_list(3, 6, F)}
    for one_class in (0, 1):
        as_reference("SVMRegressor", X, coefficients=random_list(4, 6), rho=[0.3], n_supports=6, one_class=one_class, tolerance=1e-4, **common)
    for per_class, labels in (([2, 1, 3], {"classlabels_strings": ["a", "b", "c"]}), ([2, 4], {"classlabels_ints": [4, 3]})):
        k = len(per_class)
        pairs = k * (k - 1) // 2
        attrs = {"coefficients": random_list(5, k - 1, 6), "rho": random_list(6, pairs), "vectors_per_class": per_class} | common | labels
        as_reference("SVMClassifier", X, outputs=2, tolerance=1e-3, **attrs)
        # Probabilities of pairs r make those p, of sum 1, whose sum of (r_ji p_i - r_ij p_j)^2 is least.
        s = run("SVMClassifier", X, outputs=2, **attrs)[1][:, -pairs:].astype(np.float64)
        a, b = np.float64([-1.5, -0.7, -1.1][:pairs]), np.float64([0.1, -0.4, 0.2][:pairs])
        _, got = run("SVMClassifier", X, outputs=2, prob_a=a.tolist(), prob_b=b.tolist(), **attrs)
        for row, p in zip(1 / (1 + np.exp(s * a + b)), got):
            r = np.zeros((k, k))
            r[np.triu_indices(k, 1)] = row
            r.T[np.triu_indices(k, 1)] = 1 - row
            q = -r * r.T + np.diag((r**2).sum(0))
            best = np.linalg.solve(np.block([[q, np.ones((k, 1))], [np.ones((1, k)), 0]]), [0] * k + [1])[:k]
            np.testing.assert_allclose(p, best, atol=5e-3)


# ---- trees --------------------------------------------------------------------------------------------


def forest(seed, trees, depth, targets, modes=("BRANCH_LEQ",), one_each=True):
    """Random trees as attributes of nodes, and (tree, node, target, weight) of leaves."""
    rng = np.random.default_rng(seed)
    nodes = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves = []

    def grow(tree, depth, number):
        leaf = depth == 0 or (number and rng.random() < 0.2)
        row = len(nodes["values"])
        for key, value in {"treeids": tree, "nodeids": number, "featureids": int(rng.integers(F)), "values": float(np.float32(rng.normal() / 2)),
                           "modes": "LEAF" if leaf else str(rng.choice(modes)), "truenodeids": 0 if leaf else number + 1, "falsenodeids": 0,
                           "missing_value_tracks_true": int(rng.integers(2))}.items():  # fmt: skip
            nodes[key].append(value)
        if leaf:
            for target in [int(rng.integers(targets))] if one_each else range(targets):
                leaves.append((tree, number, target, float(np.float32(rng.random()))))
            return number + 1
        nodes["falsenodeids"][row] = grow(tree, depth - 1, number + 1)
        return grow(tree, depth - 1, nodes["falsenodeids"][row])

    for tree in range(trees):
        grow(tree, depth, 0)
    return {f"nodes_{k}": v for k, v in nodes.items()}, [list(column) for column in zip(*leaves)]


ROWS = np.random.default_rng(9).normal(size=(300, F)).astype(np.float32)
ROWS[3, 2] = ROWS[4, :] = np.nan
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(aggregate):
    nodes, (tree, node, target, weight) = forest(1, 9, 4, 2, one_each=False)
    as_reference("TreeEnsembleRegressor", ROWS[5:], n_targets=2, aggregate_function=aggregate, base_values=[0.5, -0.25],
                 target_treeids=tree, target_nodeids=node, target_ids=target, target_weights=weight, **nodes)  # fmt: skip


def walk(nodes, leaves, x, targets):
    """Sums of weights by a plain walk, all modes and missing values."""
    at = {(t, n): i for i, (t, n) in enumerate(zip(nodes["nodes_treeids"], nodes["nodes_nodeids"]))}
    ask = dict(zip(MODES, (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)))
    out = np.zeros((len(x), targets))
    for r, row in enumerate(x):
        for tree in set(nodes["nodes_treeids"]):
            i = at[tree, 0]
            while (mode := nodes["nodes_modes"][i]) != "LEAF":
                v = row[nodes["nodes_featureids"][i]]
                yes = ask[mode](v, np.float32(nodes["nodes_values"][i])) or (np.isnan(v) and nodes["nodes_missing_value_tracks_true"][i])
                i = at[tree, nodes["nodes_truenodeids" if yes else "nodes_falsenodeids"][i]]
            for t, n, target, weight in zip(*leaves):
                if (t, n) == (tree, nodes["nodes_nodeids"][i]):
                    out[r, target] += weight
    return out


def test_all_modes_and_missing_values():
    nodes, leaves = forest(2, 4, 4, 3, MODES)
    tree, node, target, weight = leaves
    (y,) = run("TreeEnsembleRegressor", ROWS, n_targets=3, target_treeids=tree, target_nodeids=node, target_ids=target,
               target_weights=weight, **nodes)  # fmt: skip
    np.testing.assert_allclose(y, walk(nodes, leaves, ROWS, 3), rtol=1e-6)


@pytest.mark.parametrize("after", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_tree_classifier(after):
    nodes, (tree, node, target, weight) = forest(3, 7, 3, 3, one_each=False)
    as_reference("TreeEnsembleClassifier", ROWS[5:], outputs=2, post_transform=after, classlabels_strings=["a", "b", "c"], base_values=[0.1, 0.2, 0.3],
                 class_treeids=tree, class_nodeids=node, class_ids=target, class_weights=weight, **nodes)  # fmt: skip


@pytest.mark.parametrize("after", ["NONE", "LOGISTIC"])
def test_two_classes_and_one_score(after):
    nodes, leaves = forest(4, 5, 3, 1)
    tree, node, target, weight = leaves
    for shift in (0.0, 0.4):   # weights of both signs: a margin; of one: a probability
        weight = [w - shift for w in leaves[3]]
        labels, scores = run("TreeEnsembleClassifier", ROWS, outputs=2, post_transform=after, classlabels_int64s=[4, 3], class_treeids=tree,
                             class_nodeids=node, class_ids=target, class_weights=weight, **nodes)  # fmt: skip
        s = walk(nodes, [tree, node, target, weight], ROWS, 1)[:, 0]
        np.testing.assert_array_equal(labels, np.where(s > (0 if shift else 0.5), 3, 4))
        want = np.stack([-s, s] if shift else [1 - s, s], 1)
        if after == "LOGISTIC" and shift:
            want = 1 / (1 + np.exp(-want))
        np.testing.assert_allclose(scores, want, rtol=1e-5, atol=1e-6)


def broken(**changes):
    nodes, (tree, node, target, weight) = forest(5, 2, 2, 1)
    attrs = {"n_targets": 1, "target_treeids": tree, "target_nodeids": node, "target_ids": target, "target_weights": weight} | nodes
    first = nodes["nodes_modes"].index("BRANCH_LEQ")
    for key, value in changes.items():
        attrs[key] = [value if i == first else v for i, v in enumerate(attrs[key])] if key.startswith("nodes") else value
    return run("TreeEnsembleRegressor", ROWS, **attrs)


@pytest.mark.parametrize(("changes", "error", "text"), [
    ({"nodes_truenodeids": 99}, IndexError, "node out of range"),
    ({"nodes_truenodeids": -1}, IndexError, "node out of range"),
    ({"nodes_truenodeids": 0}, ValueError, "cycle"),
    ({"nodes_featureids": -1}, IndexError, "feature or leaf out of range"),
    ({"nodes_featureids": F}, IndexError, "tree points outside"),
    ({"nodes_modes": "BRANCH_MAYBE"}, ValueError, "unknown mode"),
    ({"target_ids": [7] * 99}, ValueError, "lists differ in length"),
    ({"n_targets": 0}, ValueError, "trees out of range"),
    ({"nodes_nodeids": 1}, ValueError, "node twice"),
])  # fmt: skip
def test_hostile_trees(changes, error, text):
    with pytest.raises(error, match=text):
        broken(**changes)


def test_deep_chains_and_cycles_of_listed_trees():
    n = 200_000

    def chain(last):
        tensor = lambda name, kind, v: h.make_tensor(name, kind, [len(v)], v)  # noqa: E731
        return dict(n_targets=1, tree_roots=[0], nodes_featureids=[0] * n, nodes_truenodeids=[*range(1, n), last], nodes_falsenodeids=[0] * n,
                    nodes_trueleafs=[0] * (n - 1) + [int(last == 0)], nodes_falseleafs=[1] * n, leaf_targetids=[0],
                    nodes_splits=tensor("s", T.FLOAT, [0.0] * n), nodes_modes=tensor("m", T.UINT8, [0] * n),
                    leaf_weights=tensor("w", T.FLOAT, [2.0]))  # fmt: skip

    (y,) = run("TreeEnsemble", np.float32([[-1], [1]]), version=5, **chain(0))
    assert y.tolist() == [[2], [2]]
    with pytest.raises(ValueError, match="cycle"):
        run("TreeEnsemble", np.float32([[-1]]), version=5, **chain(7))


def test_the_op_survives_any_nodes():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        nodes = rng.integers(-3, 9, (6, 4)).astype(np.int32)
        args = [ROWS[:4], nodes, rng.normal(size=6).astype(np.float32), rng.integers(-1, 7, 3).astype(np.int32),
                rng.integers(-2, 6, 4).astype(np.int32), rng.integers(-1, 3, 4).astype(np.int32), np.ones(4, np.float32)]  # fmt: skip
        if rng.random() < 0.5:   # nothing but leaves
            args[1] = np.stack([rng.integers(0, 3, 6), np.full(6, 7), nodes[:, 0], nodes[:, 1]], 1).astype(np.int32)
            args[4] = np.sort(rng.integers(0, 5, 4)).astype(np.int32)
        try:
            suan._c.ops.tree_ensemble(*map(suan.tensor, args), n_targets=2)
        except IndexError:
            refused += 1
    assert 0 < refused < 300


# ---- training -----------------------------------------------------------------------------------------


def test_gradient_of_a_gradient():
    """d/dx of x^3, and again: the second Gradient differentiates the first one's result."""
    training = "ai.onnx.preview.training"
    nodes = [
        h.make_node("Mul", ["x", "x"], ["xx"]),
        h.make_node("Mul", ["xx", "x"], ["y"]),
        h.make_node("Gradient", ["x"], ["d1"], domain=training, xs=["x"], y="y"),
        h.make_node("Gradient", ["x"], ["d2"], domain=training, xs=["x"], y="d1"),
        h.make_node("Gradient", ["xx", "x"], ["a", "b"], domain=training, xs=["xx", "x"], y="y"),
    ]
    names = ["d1", "d2", "a", "b"]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, [3])], [h.make_tensor_value_info(n, T.FLOAT, [3]) for n in names])
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", 12), h.make_opsetid(training, 1)], ir_version=8)
    x = np.float32([1, 2, -3])
    d1, d2, a, b = suan.onnx.InferenceSession(m.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(d1, 3 * x * x)
    np.testing.assert_allclose(d2, 6 * x)
    np.testing.assert_allclose(a, x)   # xx counts as independent
    np.testing.assert_allclose(b, x * x)
    nodes[2].attribute[-1].s = b"nothing"
    bad = h.make_model(h.make_graph(nodes, "g", graph.input, graph.output), opset_imports=m.opset_import, ir_version=8)
    with pytest.raises(ValueError, match="unknown value"):
        suan.onnx.InferenceSession(bad.SerializeToString())

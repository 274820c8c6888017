"""A teacher small enough to be made here: how loud each tenth of a second is, mixed by fixed weights."""

import numpy as np
import pytest

SIZE = 24


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """An ONNX file from waveforms (B, 16000) to (B, 24), and the function that it computes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((10, SIZE)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["parts"]),
         helper.make_node("ReduceL2", ["parts", "axes"], ["levels"], keepdims=0),
         helper.make_node("MatMul", ["levels", "weights"], ["embeddings"])], "levels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 16_000])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", SIZE])],
        [numpy_helper.from_array(np.array([-1, 10, 1600]), "shape"), numpy_helper.from_array(np.array([2]), "axes"),
         numpy_helper.from_array(weights, "weights")])
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    def embed(clips: np.ndarray) -> np.ndarray:
        return np.linalg.norm((clips / 32768).reshape(-1, 10, 1600), axis=2) @ weights
    return path, embed

"""A teacher small enough to be made here: how much of each of some frequencies a clip has."""

import numpy as np
import pytest

SIZE = 40


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """An ONNX file from waveforms (B, 16000) to (B, 40), and the function that it computes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    turns = np.outer(np.arange(160), np.geomspace(250, 3000, SIZE // 2)) / 16_000
    waves = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], 1).astype(np.float32)  # (160, 40)
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["frames"]),
         helper.make_node("MatMul", ["frames", "waves"], ["parts"]),
         helper.make_node("ReduceL2", ["parts", "axes"], ["embeddings"], keepdims=0)], "frequencies",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 16_000])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", SIZE])],
        [numpy_helper.from_array(np.array([-1, 100, 160]), "shape"), numpy_helper.from_array(np.array([1]), "axes"),
         numpy_helper.from_array(waves, "waves")])
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    def embed(clips: np.ndarray) -> np.ndarray:
        return np.linalg.norm((clips / 32768).reshape(-1, 100, 160) @ waves, axis=1)
    return path, embed

"""Large encoders that teach a small one: what they are, where they lie, what they say of a clip.

Each comes in a package that carries its weights and is installed by whoever wants it, without what it depends on:
``pip install --no-deps efficientword-net==1.0.5``. Nothing of such a package runs here but its log filter bank.
"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE
from data.base.cores import cores
from data.base.errors import UserError
from data.base.files import file_digest, open_regular

PACKAGES = {"efficientword-net": ("eff_word_net", "1.0.5"), "openwakeword": ("openwakeword", "0.4.0")}


@dataclass
class Teacher:
    """A model that embeds clips."""

    name: str  # as --teacher has it
    size: int  # T, numbers in an embedding
    digest: str  # of the model's file or files
    embed: Callable[[np.ndarray], np.ndarray]  # (N, S) int16 at 16 kHz to (N, T) float32, of any length


def open_teacher(name: str) -> Teacher:
    """The teacher of a name in `PACKAGES`, or of an ONNX file that takes waveforms (B, S) in [-1, 1]. Raises UserError:
    the package is not installed, the file cannot be read, or is no such model."""
    if name not in PACKAGES:
        return _waveform_model(Path(name))
    module, version = PACKAGES[name]
    found = importlib.util.find_spec(module)
    if found is None:
        raise UserError(f"--teacher {name}: is not installed; pip install --no-deps {name}=={version}")
    folder = Path(found.submodule_search_locations[0])
    return (_efficientword_net if name == "efficientword-net" else _speech_embedding)(name, folder)


def _efficientword_net(name: str, folder: Path) -> Teacher:
    """EfficientWord-Net's ResNet50, trained on single words of MSWC (Apache 2.0): 1.5 seconds to 2,048 numbers."""
    files = sorted((folder / "models" / "resnet_50_arc").glob("*.onnx"), key=lambda path: path.stat().st_size)
    if not files:
        raise UserError(f"--teacher {name}: {folder} has no model; install version {PACKAGES[name][1]}")
    model = _Model(files[-1], name)  # the larger one: the other has 8-bit weights
    samples = SAMPLE_RATE * 3 // 2

    from eff_word_net.audio_utils import logfbank

    def embed(clips: np.ndarray) -> np.ndarray:
        return np.concatenate([model(logfbank(clip, samplerate=SAMPLE_RATE, winlen=0.025, winstep=0.01, nfilt=64,
                                              nfft=512, preemph=0.0)[None, None])
                               for clip in around_middle(clips, samples) / 32768])
    return Teacher(name, 2048, file_digest(files[-1]), embed)


def _speech_embedding(name: str, folder: Path) -> Teacher:
    """Google's speech embedding (Lin et al., 2020; Apache 2.0), its mean over the clip: 96 numbers."""
    paths = [folder / "resources" / "models" / f"{part}.onnx" for part in ("melspectrogram", "embedding_model")]
    spectrogram, encoder = (_Model(path, name) for path in paths)
    frames, hop = 76, 8  # of a window, and between two: 0.76 and 0.08 s

    def embed(clips: np.ndarray) -> np.ndarray:
        means = []
        for clip in around_middle(clips, max(SAMPLE_RATE, clips.shape[1])):  # at least 97 frames, three windows
            mel = spectrogram(clip[None].astype(np.float32)).reshape(-1, 32) / 10 + 2  # (frames, 32), as it was trained
            windows = np.lib.stride_tricks.sliding_window_view(mel, frames, 0)[::hop].transpose(0, 2, 1)
            means.append(encoder(windows[..., None]).reshape(len(windows), -1).mean(0))
        return np.stack(means)
    return Teacher(name, 96, "".join(file_digest(path) for path in paths), embed)


def _waveform_model(path: Path) -> Teacher:
    model = _Model(path, str(path))
    if len(model.shape) != 2 or model.outputs[-1] in (None, 0) or isinstance(model.outputs[-1], str):
        raise UserError(f"--teacher {path}: takes {model.shape} and gives {model.outputs}; a teacher takes waveforms "
                        "(B, S) and gives embeddings (B, D), as those of spotting.export do")
    samples = model.shape[1] if isinstance(model.shape[1], int) else None

    def embed(clips: np.ndarray) -> np.ndarray:
        return model(around_middle(clips, samples or clips.shape[1]) / 32768)
    return Teacher(str(path), model.outputs[-1], file_digest(path), embed)


def around_middle(clips: np.ndarray, samples: int) -> np.ndarray:
    """(N, S) cut to ``samples`` around the middle, or filled up with zeros around both ends."""
    more = samples - clips.shape[1]
    if more <= 0:
        return clips[:, -more // 2:][:, :samples]
    return np.pad(clips, ((0, 0), (more // 2, more - more // 2)))


class _Model:
    """An ONNX file, run by onnxruntime on the CPU."""

    def __init__(self, path: Path, name: str):
        try:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or cores())
            with open_regular(path) as file:
                self.session = onnxruntime.InferenceSession(file.read(), options, providers=["CPUExecutionProvider"])
        except ModuleNotFoundError:
            raise UserError("--teacher needs onnxruntime: pip install -r requirements-spotting.txt") from None
        except Exception as error:  # onnxruntime's own kinds, one a fault
            raise UserError(f"--teacher {name}: {path} is no model that onnxruntime reads "
                            f"({str(error).splitlines()[0]}); check the name, or take one of {', '.join(PACKAGES)}"
                            ) from None
        first = self.session.get_inputs()[0]
        self.input, self.shape, self.outputs = first.name, first.shape, self.session.get_outputs()[0].shape

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: np.ascontiguousarray(x, np.float32)})[0]

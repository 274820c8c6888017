"""Whether a GPU computes what the CPU does: embeddings, mining, augmentation, nearest neighbours; and whether the four
scripts run on it, with the demo set and as a user starts them: later parts use what earlier ones made.

Each check takes a `Here` and returns what it found; it raises `Failed` where the two differ by more than they may. On
a CPU both sides are the CPU, and the same code runs.
"""

import copy
import importlib.util
import json
import re
import shutil
from functools import partial
from subprocess import CompletedProcess

import numpy as np
import torch
from torch.nn import functional

from benchmarks import knn, measure
from benchmarks.gpu.figures import WIDTH, Here, arithmetic, stopwatch
from benchmarks.measure import Failed, Skipped
from data.audio.dataset import scale
from data.augment import NoiseBank, Reverb, babble, band_limit, change_gain, change_speed, time_shift
from models.encoders.build import ClassificationNet, WaveformEncoder, embed_clips, head_scores, make_encoder
from models.encoders.device import place
from models.encoders.frontend import LogMel
from models.losses import mine, positive_pairs, squared_distances, triplet_loss
from models.neighbours import knn_search
from models.runs.checkpoints import Run, load_state
from models.runs.options.training import MINING
from models.training.masks import MASKS, SpectrogramMasks, VocalTracts

# By how much values of unit embeddings may move: any of them in float32 and by the company in a batch, their root mean
# square in bfloat16, whose eight bits move single values of a trained encoder by 5e-3 on a CPU too.
FP32, BF16, TOGETHER = 1e-4, 2e-3, 1e-5
SUMS, SPEED = 1e-5, 1e-3  # of a sample in [-1, 1]: noise's power is a sum; a position between samples has 24 bits
script = partial(measure.script, timeout=150)


def embed_all(encoder, here: Here, device=None, batch: int | None = None, bf16: bool = False) -> np.ndarray:
    """As infer_train.py embeds, on ``device``, by default this place's."""
    device = device or here.device
    encoder = place(copy.deepcopy(encoder), device, "bf16" if bf16 else "32")
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return embed_clips(encoder, LogMel().to(device), here.sounds, batch=batch)


def embeddings(here: Here, model: str) -> str:
    """One encoder's embeddings here and on the CPU, in float32 and bfloat16, and by batches of several sizes."""
    torch.manual_seed(0)
    encoder = make_encoder(model, WIDTH)
    waveforms, _ = here.sounds[np.arange(min(16, len(here.sounds)))]
    with torch.no_grad():
        for _ in range(3):  # untrained, but its batch norms have seen clips
            encoder.train()(LogMel().eval()(scale(waveforms)))
    encoder.eval()
    expected = embed_all(encoder, here, torch.device("cpu"))
    if not np.allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5) or np.ptp(expected, 0).max() < 1e-2:
        raise Failed("the CPU's embeddings are not of length 1, or all the same")
    with arithmetic("TF32"):  # the worst setting it may find, and has to undo for itself
        found = embed_all(encoder, here)
        alone = [embed_all(encoder, here, batch=size) for size in (1, 7)]
    apart, rounding = _largest(found - expected), embed_all(encoder, here, bf16=True) - expected
    together, rough = max(_largest(x - found) for x in alone), float(np.sqrt(np.mean(rounding**2)))
    return _verdict(f"float32 differs by {apart:.1e} (at most {FP32:g}), bfloat16 by {rough:.1e} root mean square "
                    f"({BF16:g}; largest {_largest(rounding):.1e}), batches of 1 and 7 from whole ones by "
                    f"{together:.1e} ({TOGETHER:g}); {len(expected)} clips",
                    apart <= FP32 and rough <= BF16 and together <= TOGETHER)


def places(here: Here) -> str:
    """What else embeds, with TF32 set against the CPU: `WaveformEncoder`, its rows of a long recording, and a head."""
    torch.manual_seed(0)
    encoder = WaveformEncoder(make_encoder("Res8", WIDTH, compression="constant"), 1.4, "constant").eval()
    head = ClassificationNet(WIDTH, 35)
    clips = torch.from_numpy(here.sounds[np.arange(len(here.sounds))][0].numpy())
    long = clips.flatten()[None].repeat(1, 1 if here.quick else 8)  # a dozen minutes
    found = []
    for device in (torch.device("cpu"), here.device):
        encoder, head = encoder.to(device), head.to(device)
        with arithmetic("TF32", matrices=True), torch.no_grad():
            embedded = encoder(clips).cpu().numpy()
            found.append({"embeddings": embedded, "rows of a recording": encoder.rows(long).cpu().numpy(),
                          "a head": head_scores(head, embedded)})
    apart = {name: _largest(found[1][name] - value) / max(1, _largest(value)) for name, value in found[0].items()}
    return _verdict(f"with TF32 set, differ from the CPU's by (at most {FP32:g}): " + ", ".join(
        f"{name} {value:.1e}" for name, value in apart.items()), max(apart.values()) <= FP32)


def mining(here: Here) -> str:
    """The negatives of the same distances and seed, by all three rules; and the loss from the embeddings on."""
    generator = torch.Generator().manual_seed(0)
    per_class = 3 if here.quick else 10
    labels = torch.arange(here.classes * per_class) // per_class
    centres = torch.randn(here.classes, WIDTH, generator=generator)
    spread = 1.5 * torch.randn(len(labels), WIDTH, generator=generator)
    clips = functional.normalize(centres[labels] + spread, dim=1)
    distances, pairs = squared_distances(clips), positive_pairs(labels)
    losses, different = [], 0
    for rule in MINING:
        both = []
        for device in (torch.device("cpu"), here.device):
            given = [x.to(device) for x in (distances, labels, pairs)]
            both.append([x.cpu() for x in mine(*given, 0.5, rule, torch.Generator().manual_seed(1))])
            embedded = clips.detach().to(device).requires_grad_()  # a leaf: on the CPU `to` gives clips itself
            triplet_loss(embedded, given[1], 0.5, "hardest").loss.backward()
            losses.append(embedded.grad.cpu())
        different += sum(int((a != b).sum()) for a, b in zip(*both, strict=True))
        found = both[0][1]
        if not found.any() or not (labels[both[0][0][found]] != labels[pairs[:, 0][found]]).all():
            raise Failed(f"{rule}: no negatives, or of the anchor's own class")
    apart = max(_largest((x - losses[0]).numpy()) for x in losses) / _largest(losses[0].numpy())
    return _verdict(f"{different} of {len(MINING) * len(pairs):,} negatives differ (0), the loss's gradient by "
                    f"{apart:.1e} of its largest (1e-3)", different == 0 and apart <= 1e-3)


def augmentation(here: Here) -> str:
    """Each augmentation with the same seed gives on the device what it gives on the CPU, and changes something."""
    waves = scale(here.sounds[np.arange(len(here.sounds))][0])
    mels = torch.randn(len(waves), 64, 112, generator=torch.Generator().manual_seed(2))
    labels, samples, filters = torch.arange(len(waves)) // 2, waves.shape[1], LogMel().eval().filters
    bank, reverb, tracts = NoiseBank(here.hiss, samples), Reverb(samples, 0.5), VocalTracts(filters, 0.5)

    def masked(kind, x, generator):
        masks = SpectrogramMasks(**kind)
        return masks(x, masks.draw(len(x), x.shape[1], 100, generator, x.device))

    ways = {  # what it does, and how far values may differ
        "full masks": (partial(masked, MASKS["full"]), 0), "light masks": (partial(masked, MASKS["light"]), 0),
        "shift": (time_shift, 0), "speed": (change_speed, SPEED),
        "noise": (lambda x, g: bank.to(x.device)(x, g), SUMS), "rooms": (lambda x, g: reverb.to(x.device)(x, g), SUMS),
        "voices": (lambda x, g: babble(x, labels.to(x.device), g, (5.0, 20.0), 0.5), SUMS),
        "band limits": (lambda x, g: band_limit(x, g, 0.5), SUMS),
        "gain": (lambda x, g: change_gain(x, g, (-20.0, 10.0), 0.5), SUMS),
        "vocal tracts' filters": (lambda x, g: tracts.to(x.device)(len(x), g), 0)}
    shown, right = [], True
    for name, (work, most) in ways.items():
        given = mels if "masks" in name else waves
        both = [work(given.to(device), torch.Generator().manual_seed(3)).cpu().numpy()
                for device in (torch.device("cpu"), here.device)]
        apart, unchanged = _largest(both[0] - both[1]), filters if "filters" in name else given
        shown.append(f"{name} by {apart:.1e} ({most:g})")
        right &= apart <= most and _largest(both[0] - unchanged.numpy()) > 0
    return _verdict("differ: " + ", ".join(shown), right)


def neighbours(here: Here) -> str:
    """`knn_search` on the device finds FAISS's neighbours, and how long both take."""
    count, queries = (300, 20) if here.quick else (85_000, 11_000) if here.gpu else (20_000, 2_000)
    train, asked = knn.embeddings(count, WIDTH, 0), knn.embeddings(queries, WIDTH, 1)
    searches = [partial(knn_search, train, asked, 5, device) for device in (None, here.device)]
    found, timed = [search()[1] for search in searches], [stopwatch(here, search) for search in searches]
    share = knn.differing(found[1], found[0], train, asked)
    return (f"{queries:,} queries among {count:,}: the same neighbours, {share:.3%} ties apart; FAISS {timed[0]}, "
            f"torch {timed[1]}")


def demo(here: Here) -> str:
    """Make the data set that eSpeak NG speaks."""
    voices, takes = (3, 1) if here.quick else (16, 2)
    seconds, _ = script("-m", "data.demo", f"--voices={voices}", f"--takes={takes}", f"--out={here.folder / 'demo'}",
                        f"--registry={here.folder / 'manifests.json'}")
    return f"{35 * voices * takes:,} clips made in {seconds:.1f} s"


def run(here: Here, name: str, *flags: str) -> tuple[float, CompletedProcess]:
    """Run a script on the demo set, as `measure.script` does."""
    if not (here.folder / "demo" / "train.json").exists():
        raise Skipped("there is no demo set")
    return script(name, "--manifest=demo", "--model=Res8", f"--registry={here.folder / 'manifests.json'}",
                  f"--cache_dir={here.folder / 'cache'}", f"--runs_dir={here.folder / 'runs'}", *flags)


def train_encoder(here: Here, name: str = "enc", *flags: str) -> str:
    seconds, done = run(here, "TripletEncoder.py", f"--name={name}", "--recipe=fast", f"--num_steps={here.steps}",
                        f"--step_freq={here.steps // 2}", f"--eval_freq={here.steps}",
                        f"--eval_clips={50 if here.quick else 2000}", *flags)
    config = json.loads((here.folder / "runs" / name / "config.json").read_text())
    return (f"{here.steps} steps, --precision={config['arguments']['precision']}, "
            f"dev {_figure(done, r'dev ([0-9.]+) %')} %, in {seconds:.1f} s")


def start(here: Here) -> str:
    """How long a training takes to the end of its first step, and its imports, each in a process of its own."""
    imports, done = script("-c", "import sys, models.training.prepare, models.training.loop, models.training.tasks\n"
                           "print(len(sys.modules))")
    first, _ = run(here, "TripletEncoder.py", "--name=start", "--recipe=fast", "--num_steps=1", "--eval_clips=10")
    return f"imports {imports:.1f} s ({done.stdout.strip()} modules), to the end of the first step {first:.1f} s"


def teacher(here: Here) -> str:
    """How many clips a second a teacher hears, of those that are installed."""
    from models.teachers.models import PACKAGES, open_teacher

    installed = [name for name, (module, _) in PACKAGES.items() if importlib.util.find_spec(module)]
    if not installed:
        raise Skipped(f"no teacher is installed ({', '.join(PACKAGES)})")
    clips, _ = here.sounds[np.arange(min(32, len(here.sounds)))]
    timed = {name: stopwatch(here, partial(open_teacher(name).embed, clips.numpy()), 0) for name in installed}
    return ", ".join(f"{name} {len(clips) / timing.median:.0f} clips/s" for name, timing in timed.items())


def spotting(here: Here) -> str:
    """How fast long recordings are searched, which is done on the CPU: times real time, one thread and two."""
    path = here.folder / "spotting.json"
    size = ("--seconds=3", "--threads=1", "--repeats=1") if here.quick else ("--seconds=60", "--repeats=3")
    script("-m", "benchmarks.spotting", "--models=Res8+constant", f"--json={path}", *size)
    return "; ".join(", ".join(f"{key} {value}" for key, value in row.items())
                     for row in json.loads(path.read_text())["rows"])


def train_head(here: Here) -> str:
    """On the encoder's frozen embeddings; and, with noise and masks, together with a new encoder."""
    flags = ["--recipe=fast", "--batch_size=64", *(f"--{name}={here.steps}" for name in (
        "num_steps", "eval_freq", "step_freq"))]
    once, _ = run(here, "TripletClassifier.py", "--name=head", "--enc_name=enc", *flags)
    anew, _ = run(here, "TripletClassifier.py", "--name=both", *flags, "--augment", "--spec_augment=light")
    return f"frozen in {once:.1f} s; from scratch with noise and masks in {anew:.1f} s"


def accuracy(here: Here, name: str, *flags: str) -> str:
    """Of the encoder that was trained, or with the head on it, by a script that tests."""
    seconds, done = run(here, name, "--name=enc", *flags)
    found = _figure(done, r"Accuracy: ([\d.]+)")
    if not here.quick and float(found) < 30:  # chance is 3 %
        raise Failed(f"{found} % right after {here.steps} steps of training")
    return f"{found} % right, in {seconds:.1f} s"


def resumed(here: Here) -> str:
    """How far a run that goes on from its middle comes from the weights of the one that was not interrupted."""
    runs, last = here.folder / "runs", here.steps
    if not (runs / "enc").is_dir():
        raise Skipped("no encoder was trained")
    shutil.copytree(runs / "enc", runs / "resumed")
    for path in (runs / "resumed" / "checkpoints").glob(f"*-STEP-{last}.pt"):
        path.unlink()
    train_encoder(here, "resumed", "--resume")
    states = [load_state(Run(runs, name).path("Res8", last)) for name in ("enc", "resumed")]
    one, other = (np.concatenate([tensor.double().numpy().ravel() for key, tensor in state.items() if "conv" in key])
                  for state in states)
    if not np.isfinite([one, other]).all():
        raise Failed("weights that are no numbers")
    apart = np.abs(one - other).max() / np.abs(one).max()
    found = "bitwise" if apart == 0 else f"not bitwise (weights differ by {apart:.1e} of the largest)"
    return f"{found}, {last - last // 2} steps after step {last // 2}"


def _figure(done: CompletedProcess, pattern: str) -> str:
    found = re.search(pattern, done.stdout)
    if found is None:
        raise Failed(f"it printed no {pattern.split()[0]}")
    return found[1]


def _verdict(found: str, right: bool) -> str:
    if not right:
        raise Failed(found)
    return found


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())

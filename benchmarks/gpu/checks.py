"""Whether a GPU computes what the CPU does: embeddings, mining, augmentation, nearest neighbours.

Each check takes a `Here` and returns what it found; it raises `Failed` where the two differ by more than they may. On
a CPU both sides are the CPU, and the same code runs.
"""

import copy
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from benchmarks.gpu.here import WIDTH, Here, arithmetic, stopwatch
from benchmarks.measure import Failed
from data.dataset import scale
from models.encoders.build import make_encoder
from models.encoders.device import place
from models.encoders.embedding import embed_clips
from models.encoders.frontend import LogMel
from models.runs.options.loss import MINING

# By how much values of unit embeddings may move: any of them in float32 and by the company in a batch, their root mean
# square in bfloat16, whose eight bits move single values of a trained encoder by 5e-3 on a CPU too.
FP32, BF16, TOGETHER = 1e-4, 2e-3, 1e-5
SUMS, SPEED = 1e-5, 1e-3  # of a sample in [-1, 1]: noise's power is a sum; a position between samples has 24 bits


def warmed(model: str, here: Here):
    """An untrained encoder on the CPU whose batch norms have seen clips."""
    torch.manual_seed(0)
    encoder = make_encoder(model, WIDTH)
    waveforms, _ = here.sounds[np.arange(min(16, len(here.sounds)))]
    with torch.no_grad():
        for _ in range(3):
            encoder.train()(LogMel().eval()(scale(waveforms)))
    return encoder.eval()


def embed_all(encoder, here: Here, device=None, batch: int | None = None, bf16: bool = False) -> np.ndarray:
    """As infer_train.py embeds, on ``device``, by default this place's."""
    device = device or here.device
    encoder = place(copy.deepcopy(encoder), device, "bf16" if bf16 else "32")
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return embed_clips(encoder, LogMel().to(device), here.sounds, batch=batch)


def embeddings(here: Here, model: str) -> str:
    """One encoder's embeddings here and on the CPU, in float32 and bfloat16, and by batches of several sizes."""
    encoder = warmed(model, here)
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
    from models.encoders.head import ClassificationNet, head_scores
    from models.encoders.waveform import WaveformEncoder

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
    from models.losses.triplet import mine, positive_pairs, squared_distances, triplet_loss

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
    from data.augment import NoiseBank, Reverb, babble, band_limit, change_gain, change_speed, time_shift
    from models.training.masks import MASKS, SpectrogramMasks
    from models.training.vocal_tract import VocalTracts

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
    from benchmarks.knn import differing, embeddings
    from models.neighbours.knn import knn_search

    count, queries = (300, 20) if here.quick else (85_000, 11_000) if here.gpu else (20_000, 2_000)
    train, asked = embeddings(count, WIDTH, 0), embeddings(queries, WIDTH, 1)
    searches = [partial(knn_search, train, asked, 5, device) for device in (None, here.device)]
    found, timed = [search()[1] for search in searches], [stopwatch(here, search) for search in searches]
    share = differing(found[1], found[0], train, asked)
    return (f"{queries:,} queries among {count:,}: the same neighbours, {share:.3%} ties apart; FAISS {timed[0]}, "
            f"torch {timed[1]}")


def _verdict(found: str, right: bool) -> str:
    if not right:
        raise Failed(found)
    return found


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())

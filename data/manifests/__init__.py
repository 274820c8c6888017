"""The clips of a data set, their labels and speakers, and the registry that names the sets."""

from data.manifests.corpus import Corpus, load_corpus
from data.manifests.manifest import Manifest, Utterance, read_manifest, write_manifest
from data.manifests.registry import read_registry, register, registered

__all__ = ["Corpus", "Manifest", "Utterance", "load_corpus", "read_manifest", "read_registry", "register", "registered",
           "write_manifest"]

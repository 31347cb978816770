"""The models known by name, and the folders of a user's models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True, slots=True)
class Entry:
    """A model known by name.

    Parameters
    ----------
    name
        What :func:`~napari_sam.model.weights.load` takes.
    url
        Where it is downloaded from; ``None`` for a model inside the package.
    digest
        ``"sha256:..."`` or ``"xxh128:..."`` of the file; None where it isn't known.
    size
        Bytes to download, to within a percent; None where that isn't known.
    licence
        SPDX identifier of the weights' licence; its name where it has none.
    description
        What the model is for, in one line.
    config
        Name of its architecture in :data:`~napari_sam.model.config.PRESETS`; of a model that runs
        by the library transformers the name of its family.
    repository
        ``"owner/name"`` on Hugging Face's hub, of a model that runs by that library. Its files
        are those of the commit that is found when it is downloaded: they have no digest here.
    decoder_digest
        As `digest`, of the file of its decoder for instances, which is downloaded along with it;
        None for a model that has none.
    """

    name: str
    url: str | None
    digest: str | None
    size: int | None
    licence: str
    description: str
    config: str
    repository: str | None = None
    decoder_digest: str | None = None

    @property
    def decoder_url(self) -> str | None:
        """Where its decoder for instances is downloaded from; None where it has none."""
        if self.url is None or self.decoder_digest is None:
            return None
        stem, _, suffix = self.url.rpartition(".")
        return f"{stem}_decoder.{suffix}"


def _sam2(size: str, what: str) -> Entry:
    repository = f"facebook/sam2.1-hiera-{size.replace('_', '-')}"
    return Entry(
        f"sam2.1_{size}",
        f"https://huggingface.co/{repository}",
        None,
        None,
        "Apache-2.0",
        f"Segment Anything 2.1, {what}, natural images and video; needs the library transformers",
        "sam2",
        repository,
    )


_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/"
_ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"
_LM = "micro-sam's generalist for light microscopy"
_EM = "micro-sam's generalist for organelles in electron microscopy"

REGISTRY: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "nano",
            None,
            "sha256:b42169411db160c9fcba95873cde2bcaaaf8a4eaea9d4f44233099d4dc5e3d60",
            None,
            "BSD-3-Clause",
            "small and fast, for microscopy; comes with the plugin",
            "nano",
        ),
        Entry(
            "vit_t",
            f"{_MOBILE}mobile_sam.pt",
            "sha256:6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            40_728_226,
            "Apache-2.0",
            "MobileSAM: Segment Anything with a light encoder, natural images",
            "vit_t",
        ),
        Entry(
            "vit_b",
            f"{_SAM}sam_vit_b_01ec64.pth",
            "sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375_042_383,
            "Apache-2.0",
            "Segment Anything, base size, natural images",
            "vit_b",
        ),
        Entry(
            "vit_l",
            f"{_SAM}sam_vit_l_0b3195.pth",
            "sha256:3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            1_249_000_000,
            "Apache-2.0",
            "Segment Anything, large, natural images",
            "vit_l",
        ),
        Entry(
            "vit_h",
            f"{_SAM}sam_vit_h_4b8939.pth",
            "sha256:a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2_564_000_000,
            "Apache-2.0",
            "Segment Anything, huge, natural images",
            "vit_h",
        ),
        Entry(
            "vit_t_lm",
            f"{_ZOO}faithful-chicken/1.1/files/vit_t.pt",
            "xxh128:72ec5074774761a6e5c05a08942f981e",
            40_700_000,
            "CC-BY-4.0",
            f"{_LM}, MobileSAM's size",
            "vit_t",
            decoder_digest="xxh128:3e914a5f397b0312cdd36813031f8823",
        ),
        Entry(
            "vit_b_lm",
            f"{_ZOO}diplomatic-bug/1.2/files/vit_b.pt",
            "xxh128:fe9252a29f3f4ea53c15a06de471e186",
            375_000_000,
            "CC-BY-4.0",
            f"{_LM}, base size",
            "vit_b",
            decoder_digest="xxh128:708b15ac620e235f90bb38612c4929ba",
        ),
        Entry(
            "vit_l_lm",
            f"{_ZOO}idealistic-rat/1.2/files/vit_l.pt",
            "xxh128:017f20677997d628426dec80a8018f9d",
            1_249_000_000,
            "CC-BY-4.0",
            f"{_LM}, large",
            "vit_l",
            decoder_digest="xxh128:2faeafa03819dfe03e7c46a44aaac64a",
        ),
        Entry(
            "vit_t_em_organelles",
            f"{_ZOO}greedy-whale/1/files/vit_t.pt",
            "xxh128:253474720c497cce605e57c9b1d18fd9",
            40_700_000,
            "CC-BY-4.0",
            f"{_EM}, MobileSAM's size",
            "vit_t",
            decoder_digest="xxh128:8f897c7bb93174a4d1638827c4dd6f44",
        ),
        Entry(
            "vit_b_em_organelles",
            f"{_ZOO}noisy-ox/1.2/files/vit_b.pt",
            "xxh128:f3bf2ed83d691456bae2c3f9a05fb438",
            375_000_000,
            "CC-BY-4.0",
            f"{_EM}, base size",
            "vit_b",
            decoder_digest="xxh128:bb6398956a6b0132c26b631c14f95ce2",
        ),
        Entry(
            "vit_l_em_organelles",
            f"{_ZOO}humorous-crab/1.2/files/vit_l.pt",
            "xxh128:810b084b6e51acdbf760a993d8619f2d",
            1_249_000_000,
            "CC-BY-4.0",
            f"{_EM}, large",
            "vit_l",
            decoder_digest="xxh128:334877640bfdaaabce533e3252a17294",
        ),
        _sam2("tiny", "tiny"),
        _sam2("small", "small"),
        _sam2("base_plus", "base size"),
        _sam2("large", "large"),
        Entry(
            "sam3",
            "https://huggingface.co/facebook/sam3",
            None,
            None,
            "SAM License",
            "Segment Anything 3, natural images; finds objects by a text, too; needs the library "
            "transformers, and its owners' leave",
            "sam3",
            "facebook/sam3",
        ),
    )
}


def home() -> Path:
    """Return the directory for downloads and caches.

    The environment variable ``NAPARI_SAM_HOME`` if set, otherwise the platform's cache directory
    of the user. It need not exist yet.
    """
    override = os.environ.get("NAPARI_SAM_HOME")
    if override:
        return Path(override).expanduser()
    return platformdirs.user_cache_path("napari-sam-live", appauthor=False)


def models_folder() -> Path:
    """Return the directory of downloaded models, and of a user's own checkpoints."""
    return home() / "models"


def data_folder(name: str) -> Path:
    """Return a directory of what the user has made, which no cache may hold.

    It lies in the directory that the environment variable ``NAPARI_SAM_HOME`` names, otherwise in
    the platform's data directory of the user. It need not exist yet.
    """
    override = os.environ.get("NAPARI_SAM_HOME")
    if override:
        return Path(override).expanduser() / name
    return platformdirs.user_data_path("napari-sam-live", appauthor=False) / name


def taught_folder() -> Path:
    """Return the directory of the models that the user has taught.

    It is ``taught`` in the directory that the environment variable ``NAPARI_SAM_HOME`` names,
    otherwise in the platform's data directory of the user. It need not exist yet.
    """
    return data_folder("taught")

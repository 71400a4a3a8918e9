"""How often each train picture is drawn in an epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from hilum.config import Config
from hilum.data.manifest import read_manifest
from hilum.data.splits import join_patients
from hilum.data.surroundings import describe_surroundings, judge_surroundings, weigh_draws
from hilum.data.tables import write_table
from hilum.model import run as run_folder
from hilum.types import BoolArray, DoubleArray, IntArray, Label, UInt8Array

logger = logging.getLogger(__name__)


def weigh_train(
    train: pd.DataFrame, images: UInt8Array, places: IntArray, lungs: BoolArray | None, out: Path, config: Config
) -> DoubleArray | None:
    """Return the weights (n,) of the draws of split train, None where each picture is drawn once an epoch.

    Those by surroundings are written to draws.csv of the run `out` and read from there when it is resumed.

    Args:
        train: rows of the splits.
        images: prepared images (m, s, s) uint8.
        places: where the rows' images stand among them, (n,).
        lungs: their masks (n, s, s), widened a little; needed where surroundings have a say.
        out: the run folder, with its manifest.
        config: `train.balance` chooses.
    """
    sick = (train["label"] == Label.PNEUMONIA).to_numpy()
    if config.train.balance == "sampler":
        return np.asarray(1 / np.where(sick, sick.mean(), (~sick).mean()), dtype=np.float64)
    if config.train.balance != "surroundings" or lungs is None:
        return None
    path = out / run_folder.DRAWS
    if not path.exists():
        _write_draws(train, sick, images[places], lungs, path, config)
    draws = pd.read_csv(path, usecols=["weight"], converters={"weight": float})
    return draws["weight"].to_numpy(dtype=np.float64)


def _write_draws(
    train: pd.DataFrame, sick: BoolArray, pictures: UInt8Array, lungs: BoolArray, path: Path, config: Config
) -> None:
    known = read_manifest(path.with_name(run_folder.MANIFEST)).drop_duplicates("path").set_index("path")
    facts = known.loc[train["path"], ["bytes", "mean"]].to_numpy(dtype=np.float64)
    surroundings = describe_surroundings(pictures, lungs, facts)
    evidence = judge_surroundings(surroundings, sick, join_patients(train), seed=config.seed)
    weights = weigh_draws(evidence, sick)
    before, after = (roc_auc_score(sick, evidence, sample_weight=by) for by in (None, weights))
    logger.info("surroundings alone tell the classes apart with an AUROC of %.3f, drawn so with %.3f", before, after)
    columns = {"path": train["path"], "label": train["label"], "evidence": evidence, "weight": weights}
    write_table(pd.DataFrame(columns).reset_index(drop=True), path)

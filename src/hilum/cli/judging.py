"""What `hilum evaluate` judges: a run or a bundle on a split of a data set, with nothing scored that it has seen."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.errors import LeakageError
from hilum.types import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from hilum.bundle import Bundle
    from hilum.config import EvaluateConfig
    from hilum.evaluation.evaluate import EvaluationResult
    from hilum.evaluation.external import ExternalSet
    from hilum.evaluation.ledger import ModelIdentity
    from hilum.inference.scoring import BundleScorer
    from hilum.model.run import Run
    from hilum.model.scoring import RunScorer
    from hilum.report.render import Section


class Part(StrEnum):
    """Which pictures of DATA are scored."""

    TEST = "test"
    VAL = "val"
    ALL = "all"


def evaluate_run(
    scorer: RunScorer,
    manifest: pd.DataFrame,
    out: Path,
    *,
    split: Part,
    settings: EvaluateConfig,
    seed: int,
    data: str,
    command: str,
    ledger: Path | None = None,
    shortcuts: bool = False,
    external: Sequence[ExternalSet] = (),
    metadata_auroc: float | None = None,
    sections: Sequence[Section] = (),
) -> EvaluationResult:
    """Evaluate a run on a split of a scanned data set, write the report into `out` and a look at test into a ledger."""
    from hilum.data.phantom import is_phantom
    from hilum.evaluation.background import Background, Origin
    from hilum.evaluation.deployment import measure_prior
    from hilum.evaluation.evaluate import evaluate as evaluate_scorer
    from hilum.evaluation.ledger import choose_ledger
    from hilum.model.architecture import list_stages
    from hilum.model.run import CURVES

    splits, manifest = join_splits(scorer.run.splits, manifest, split)
    for given in external:
        _refuse_learnt(given, scorer.run.splits)
    curves = scorer.run.folder / CURVES
    phantom = is_phantom(Path(manifest["path"].iloc[0]))
    background = Background(
        data=data,
        command=command,
        origin=Origin.PHANTOM if phantom else None,
        stages=list_stages(scorer.network, size=scorer.spec.size),
        learning_curves=curves if curves.is_file() else None,
        training=scorer.describe_training(),
        metadata_auroc=metadata_auroc,
        sections=sections,
        whole=split is Part.ALL,
    )
    return evaluate_scorer(
        scorer,
        splits,
        out,
        config=settings,
        seed=seed,
        split=Split.VAL if split is Part.VAL else Split.TEST,
        manifest=manifest,
        trained_prior=measure_prior(scorer.run.splits, balanced=scorer.run.config.train.balance != "none"),
        background=background,
        identity=identify_run(scorer.run),
        ledger=choose_ledger(out, given=ledger, phantom=phantom),
        shortcuts=shortcuts,
        external=external,
    )


def evaluate_bundle(
    scorer: BundleScorer,
    manifest: pd.DataFrame,
    out: Path,
    *,
    split: Part,
    settings: EvaluateConfig,
    seed: int,
    data: str,
    command: str,
    ledger: Path | None = None,
    shortcuts: bool = False,
    external: Sequence[ExternalSet] = (),
) -> EvaluationResult:
    """Evaluate a bundle at its own operating point, write the report into `out` and a look at test into a ledger.

    Raises:
        LeakageError: a picture that is to be scored has trained, validated or refitted the bundle.
    """
    from hilum.bundle import refuse_seen
    from hilum.data.manifest import hash_manifest
    from hilum.data.phantom import is_phantom
    from hilum.evaluation.background import Background, Origin
    from hilum.evaluation.conformal import ConformalRule
    from hilum.evaluation.evaluate import evaluate as evaluate_scorer
    from hilum.evaluation.ledger import choose_ledger
    from hilum.evaluation.thresholds import OperatingPoint

    spec = scorer.bundle.spec
    phantom = is_phantom(Path(manifest["path"].iloc[0]))
    if split is Part.ALL and hash_manifest(manifest) == spec.provenance.manifest_hash:
        raise LeakageError(
            f"{scorer.name} was trained on pictures of {data}; evaluate it with --split test, or on other data."
        )
    manifest, tested = _choose_tested(manifest, split)
    looked_up = refuse_seen(
        scorer.bundle, tested, task="to score", advice="evaluate it on pictures that it has not seen"
    )
    for given in external:
        refuse_seen(scorer.bundle, given.manifest, task=f"of {given.name}", advice="leave them out")
    point = OperatingPoint(
        spec.operating_point.threshold,
        spec.temperature,
        "stored",
        f"{scorer.name}, {spec.default_operating_point}",
        intercept=spec.intercept,
        prior=spec.training_prior,
    )
    return evaluate_scorer(
        scorer,
        tested.reset_index(drop=True),
        out,
        config=settings,
        seed=seed,
        split=Split.TEST,
        manifest=manifest,
        operating_point=point,
        points=spec.operating_points,
        conformal=[ConformalRule.read(stored) for stored in spec.conformal],
        full_scale=spec.heatmap_full_scale,
        background=Background(
            data=data,
            command=command,
            origin=Origin.PHANTOM if phantom else None,
            unseen=looked_up,
            whole=split is Part.ALL,
        ),
        identity=identify_bundle(scorer.bundle),
        ledger=choose_ledger(out, given=ledger, phantom=phantom),
        shortcuts=shortcuts,
        external=external,
    )


def _choose_tested(manifest: pd.DataFrame, split: Part) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the manifest, all of it test where all pictures are scored, and its readable test rows as splits."""
    from hilum.data.splits import COLUMNS
    from hilum.types import Status

    if split is Part.ALL:
        manifest = manifest.assign(split=str(Split.TEST))
    rows = (manifest["split"] == Split.TEST) & (manifest["status"] == Status.OK)
    return manifest, manifest.loc[rows, list(COLUMNS)]


def _refuse_learnt(given: ExternalSet, own: pd.DataFrame) -> None:
    learnt = own.loc[own["split"] != Split.TEST, "sha256"]
    seen = given.manifest[given.manifest["sha256"].isin(learnt)]
    if len(seen):
        raise LeakageError(
            f"{len(seen):,} of the {len(given.manifest):,} pictures of {given.name} were used in training (such as "
            f"{seen['path'].iloc[0]}); leave them out."
        )


def identify_run(run: Run) -> ModelIdentity:
    """Return which model a run holds; it is scored in float32."""
    from hilum.evaluation.ledger import ModelIdentity
    from hilum.files import sha256_file
    from hilum.model.run import find_git_commit

    digest = sha256_file(run.weights)
    return ModelIdentity("run", "fp32", digest, digest, seed=run.config.seed, git_commit=find_git_commit())


def identify_bundle(bundle: Bundle) -> ModelIdentity:
    """Return which model a bundle holds, and which one it was exported from."""
    from hilum.bundle import NETWORK_ONNX, NETWORK_WEIGHTS
    from hilum.evaluation.ledger import ModelIdentity
    from hilum.model.run import find_git_commit

    spec = bundle.spec
    digest = spec.files.get(NETWORK_WEIGHTS) or spec.files[NETWORK_ONNX]
    provenance = spec.provenance
    return ModelIdentity(
        "bundle", spec.precision, digest, provenance.model_hash, seed=provenance.seed, git_commit=find_git_commit()
    )


def join_splits(own: pd.DataFrame, manifest: pd.DataFrame, split: Part) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the run's own train and val rows beside the pictures of DATA that are to be scored.

    The run's pictures are looked for in DATA by their content, so that a data set may have moved since the training.

    Raises:
        LeakageError: a picture that is to be scored has trained the model or chosen its threshold.
    """
    import pandas as pd

    from hilum.types import Status

    readable = manifest[manifest["status"] == Status.OK]
    # Copies of one picture are told apart by their order, which is that of their paths in both tables.
    order = readable.groupby("sha256").cumcount()
    places = dict(zip(zip(readable["sha256"], order, strict=True), readable["path"], strict=True))
    own = own[own["split"] != Split.TEST]
    copies = zip(own["sha256"], own.groupby("sha256").cumcount(), own["path"], strict=True)
    own = own.assign(path=[places.get((sha, k), places.get((sha, 0), path)) for sha, k, path in copies])
    if split is Part.VAL:
        return own, manifest
    manifest, tested = _choose_tested(manifest, split)
    seen = tested[tested["sha256"].isin(own["sha256"])]
    if len(seen):
        raise LeakageError(
            f"{len(seen)} of the {len(tested)} pictures to score were used in training (such as "
            f"{seen['path'].iloc[0]}); evaluate on pictures that the model has not seen."
        )
    if not set(own["sha256"]) <= set(manifest["sha256"]):
        # Another data set numbers its patients anew: equal numbers are not equal patients.
        tested = tested.assign(patient="data/" + tested["patient"])
    return pd.concat([own, tested], ignore_index=True), manifest

"""model_card.md of a bundle: its figures are those of val, for an export reads no test picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hilum.bundle import BundleSpec
from hilum.evaluation.background import Background, Origin
from hilum.evaluation.deployment import Deployment
from hilum.evaluation.findings import list_findings
from hilum.evaluation.model_card import write_model_card
from hilum.evaluation.narrative import write_passages, write_verdict


def write_deployment_card(
    spec: BundleSpec, deployment: Deployment, path: Path, *, origin: Origin, facts: Mapping[str, str]
) -> None:
    """Write the card. `origin` is that of the training data; `facts` are those of the training."""
    background = Background(training=facts)
    description = spec.describe()
    results = deployment.results
    write_model_card(
        results,
        write_passages(results, background=background, origin=origin, description=description),
        path,
        verdict=write_verdict(results),
        findings=list_findings(results, background=background, origin=origin),
        background=background,
        description=description,
        hashes={
            "manifest": spec.provenance.manifest_hash,
            "splits": spec.provenance.splits_hash,
            "trained weights": spec.provenance.model_hash,
        },
    )

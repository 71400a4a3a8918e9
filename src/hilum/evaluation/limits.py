"""What must not be concluded from an evaluation: limits of the data, of the numbers and of heat maps."""

from __future__ import annotations

from hilum.evaluation.background import Background, Origin
from hilum.evaluation.results import Results
from hilum.evaluation.wording import write_decimal, write_percent

_RARE = 0.05  # a share of pneumonia at which precision is worked out for comparison


def write_limits(results: Results, *, background: Background, origin: Origin) -> list[str]:
    """Return one statement a bullet, the gravest first."""
    bullets = []
    if origin is Origin.PHANTOM:
        bullets.append(
            "The pictures are drawn by a program. These figures show that the software works; they say nothing about "
            "any patient or radiograph."
        )
    elif origin is Origin.KERMANY:
        bullets += [
            "All pictures are antero-posterior views of children of one to five years from one hospital in Guangzhou "
            "(Kermany et al. 2018, doi:10.1016/j.cell.2018.02.010). Nothing follows for adults, other views, other "
            "equipment or other hospitals, where models of this kind are known to lose accuracy (Zech et al. 2018, "
            "doi:10.1371/journal.pmed.1002683).",
            "The labels are readings of these radiographs by physicians (two for the training part, a third for the "
            "test part), not laboratory findings; the figures say how far the model agrees with them.",
            "NORMAL here means a picture chosen as normal. How the model answers to effusion, tumour, heart failure or "
            "any other finding has not been measured.",
        ]
    else:
        bullets.append(
            "Where these pictures come from is not known to the software. The figures hold for patients, equipment and "
            "labelling like those of this data set and for no others."
        )
    shortcut = "The model may use what goes with a class without being disease, such as framing, markers or exposure."
    if background.metadata_auroc is not None:
        value = write_decimal(background.metadata_auroc)
        shortcut += (
            f" File metadata alone separate the classes of this split with an AUROC of {value}, without a look at the "
            "picture; that much could be had without any medicine."
            if background.metadata_auroc >= 0.6
            else f" File metadata alone separate the classes of this split with an AUROC of {value}, hardly or no "
            "better than chance, which speaks against the crudest shortcuts."
        )
    bullets += [
        shortcut,
        "The intervals cover the chance of having met these patients and not others. They do not cover another run of "
        "the training, another split, or a change of population.",
        _tell_prevalence(results),
        "A heat map shows which regions raised the score. It does not show that they are diseased, nor that the model "
        "looked there for the right reason.",
        "This is research software and not a medical device. No figure here allows its use in the care of a patient.",
    ]
    return bullets


def _tell_prevalence(results: Results) -> str:
    share = write_percent(results.tested.share)
    sentence = f"Precision and accuracy hold for {share} PNEUMONIA and for no other share."
    recall = results.tested.estimates["recall"].value
    specificity = results.tested.estimates["specificity"].value
    if recall is None or specificity is None or recall + specificity == 1:
        return sentence
    true_alarms, false_alarms = recall * _RARE, (1 - specificity) * (1 - _RARE)
    if true_alarms + false_alarms == 0:
        return sentence
    precision = write_percent(true_alarms / (true_alarms + false_alarms), digits=0)
    return (
        f"{sentence} Where {write_percent(_RARE, digits=0)} have a pneumonia, the same sensitivity and specificity "
        f"would make {precision} of the alarms true ones."
    )

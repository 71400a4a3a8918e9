import pytest

from hilum.data.names import find_label, find_split, parse_file_name, parse_label, parse_split
from hilum.types import Label, Pathogen, Split

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "patient", "pathogen"),
    [
        ("IM-9115-0001.jpeg", "IM/9115", None),
        ("IM-9011-0001-0002.jpeg", "IM/9011", None),
        ("IM-0009011-0001.jpeg", "IM/9011", None),
        ("NORMAL2-IM-9095-0001.jpeg", "NORMAL2-IM/9095", None),
        ("NORMAL2-IM-9427-0001 (1).jpeg", "NORMAL2-IM/9427", None),
        ("person9012_bacteria_34.jpeg", "bacteria/9012", Pathogen.BACTERIA),
        ("person9001_virus_5_6.jpeg", "virus/9001", Pathogen.VIRUS),
        ("BACTERIA-9000262-0002.jpeg", "mendeley-bacteria/9000262", Pathogen.BACTERIA),
        ("VIRUS-123-0001.jpeg", "mendeley-virus/123", Pathogen.VIRUS),
        ("NORMAL-9000501-0001.jpeg", "mendeley-normal/9000501", None),
        ("Person9012_Bacteria_34.PNG", "bacteria/9012", Pathogen.BACTERIA),
        ("00000001_000.png", None, None),
        ("person_bacteria_3.jpeg", None, None),
        ("xIM-9115-0001.jpeg", None, None),
    ],
)
def test_patient_and_pathogen_of_a_file_name(name, patient, pathogen):
    facts = parse_file_name(name)
    assert (facts.patient, facts.pathogen) == (patient, pathogen)


def test_the_four_number_spaces_are_apart():
    names = ["IM-9012-0001.jpeg", "NORMAL2-IM-9012-0001.jpeg", "person9012_bacteria_1.jpeg", "person9012_virus_1.jpeg"]
    assert len({parse_file_name(name).patient for name in names}) == 4


def test_labels_and_splits_are_spelled_in_any_case():
    assert parse_label("Normal") is Label.NORMAL
    assert parse_label(" PNEUMONIA ") is Label.PNEUMONIA
    assert parse_label("tuberculosis") is None
    assert parse_split("TRAIN") is Split.TRAIN
    assert parse_split("Validation") is Split.VAL
    assert parse_split("holdout") is None


def test_the_innermost_folder_counts():
    folders = ("test", "chest_xray", "Train", "NORMAL", "series1")
    assert find_split(folders) is Split.TRAIN
    assert find_label(folders) is Label.NORMAL
    assert find_label(("chest_xray", "train")) is None

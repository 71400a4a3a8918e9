"""Sections that describe a data set: sample, splits and classes, patients, files, gray levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hilum.data.audit import captions, figures, sheets
from hilum.data.audit.census import UNKNOWN
from hilum.data.audit.measurements import Measurements, draw_into
from hilum.report.render import Block, Cell, Section, Table
from hilum.report.wording import percent
from hilum.types import Label, Pathogen, Split


def show_sample(measured: Measurements) -> Section:
    """Show pictures of train, drawn at random."""
    frame, samples = measured.frame, measured.samples
    if not samples:
        return Section("Sample", [])
    split = str(frame.at[next(iter(samples.values()))[0], "split"])
    figure = draw_into(
        measured,
        "contact_sheet",
        lambda path: sheets.draw_contact_sheet(frame, measured.pictures, samples, path),
        title="What the pictures look like",
        caption=captions.describe_samples(samples, split=split, seed=measured.seed),
        alt="Sheet of radiographs, one row for each class or pathogen",
        wide=True,
    )
    return Section("Sample", [figure])


def show_classes(measured: Measurements) -> Section:
    """Show pictures by split, class and pathogen."""
    counts = measured.numbers["counts"]
    blocks: list[Block] = [
        draw_into(
            measured,
            "class_counts",
            lambda path: figures.draw_class_counts(counts, path),
            title="Pictures by split and class",
            caption=captions.describe_counts(counts),
            alt="Bars of the number of NORMAL and PNEUMONIA pictures in each split",
        )
    ]
    if any(row[pathogen] for row in counts.values() for pathogen in Pathogen):
        blocks.append(
            draw_into(
                measured,
                "pathogen_counts",
                lambda path: figures.draw_pathogen_counts(counts, path),
                title="Pneumonia by pathogen",
                caption=captions.describe_pathogens(counts),
                alt="Bars of the number of bacterial and viral pneumonia pictures in each split",
            )
        )
    else:
        blocks.append("The file names do not tell which pathogen caused a pneumonia.")
    rows: list[list[Cell]] = [
        [split, row["total"], row[Label.NORMAL], row[Label.PNEUMONIA], percent(row[Label.PNEUMONIA] / row["total"])]
        for split, row in counts.items()
    ]
    headers = ["split", "pictures", *Label, "share of PNEUMONIA"]
    for name in (*Pathogen, UNKNOWN):
        if any(row[name] for row in counts.values()):
            headers.append(name if name != UNKNOWN else "pathogen unknown")
            for cells, row in zip(rows, counts.values(), strict=True):
                cells.append(row[name])
    blocks.append(Table(headers, rows))
    return Section("Splits and classes", blocks)


def show_patients(measured: Measurements) -> Section:
    """Show how many pictures patients have."""
    patients = measured.numbers["patients"]
    rows = [[split, row["patients"], row["with_several_pictures"]] for split, row in patients["by_split"].items()]
    table = Table(["split", "patients", "with several pictures"], rows, half=True)
    if patients["with_several_pictures"] == 0:
        return Section("Patients", [captions.describe_patients(patients), table])
    return Section(
        "Patients",
        [
            draw_into(
                measured,
                "pictures_per_patient",
                lambda path: figures.draw_pictures_per_patient(measured.frame, path),
                title="Pictures per patient",
                caption=captions.describe_patients(patients),
                alt="Bars of how many patients have one, two, three or more pictures",
            ),
            table,
        ],
    )


def show_files(measured: Measurements) -> Section:
    """Show size, aspect ratio, colour mode and bytes of the files, by class."""
    rows, files = measured.development, measured.numbers["files"]
    if rows.empty:
        return Section("Files", ["All pictures are in test, whose files are left undescribed on purpose."])
    blocks: list[Block] = []
    if measured.numbers["counts"].get(Split.TEST):
        blocks.append(
            "From here to the gray levels, train and val alone are described: nothing that design may follow is taken "
            "from test."
        )
    constant = captions.describe_constant_files(files)
    if constant:
        blocks.append(constant)
    charts = (
        ("sizes", rows[["width", "height"]].drop_duplicates(), figures.draw_sizes, captions.describe_sizes,
         "Width and height", "Scatter of the width and height of the files of each class"),
        ("aspect_ratios", rows["aspect"].round(4).drop_duplicates(), figures.draw_aspect_ratios,
         captions.describe_aspects, "Aspect ratio", "Distribution of width over height in each class"),
        ("colour_modes", rows["mode"].drop_duplicates(), figures.draw_colour_modes, captions.describe_modes,
         "Colour modes", "Bars of the share of each class that has a colour mode"),
        ("file_sizes", rows["bytes"].drop_duplicates(), figures.draw_file_sizes, captions.describe_file_sizes,
         "File sizes", "Distribution of file sizes in each class"),
    )  # fmt: skip
    for name, values, draw, describe, title, alt in charts:
        if len(values) > 1:
            blocks.append(
                draw_into(
                    measured,
                    name,
                    lambda path, draw=draw: draw(rows, path),  # type: ignore[misc]
                    title=title,
                    caption=describe(files),
                    alt=alt,
                )
            )
    blocks.append(_tabulate_files(files))
    return Section("Files", blocks)


def _tabulate_files(files: Mapping[str, Any]) -> Table:
    def spread(row: Mapping[str, float], write: Callable[[float], str]) -> str:
        middle = write(row["median"])
        return middle if row["min"] == row["max"] else f"{middle} ({write(row['p5'])}–{write(row['p95'])})"

    lines: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("width", "width (pixels)", lambda value: f"{value:,.0f}"),
        ("height", "height (pixels)", lambda value: f"{value:,.0f}"),
        ("aspect", "width / height", lambda value: f"{value:.2f}"),
        ("bytes", "file size (kB)", lambda value: f"{value / 1e3:,.1f}"),
        ("mean", "mean gray", lambda value: f"{value:.0f}"),
    )
    body = [[title, *(spread(row[key], write) for row in files.values())] for key, title, write in lines]
    for key, title in (("modes", "colour mode"), ("formats", "format")):
        body.append([title, *(", ".join(f"{name} {n:,}" for name, n in row[key].items()) for row in files.values())])
    caption = "Medians, with the 5th and 95th percentile where values vary; for colour mode and format, counts."
    return Table(["", *files], body, caption=caption)


def show_gray_levels(measured: Measurements) -> Section:
    """Show gray levels and mean pictures, by class."""
    rows, numbers = measured.development, measured.numbers
    if rows.empty:
        return Section("Gray levels", [])
    labels = list(numbers["files"])
    return Section(
        "Gray levels",
        [
            draw_into(
                measured,
                "intensities",
                lambda path: figures.draw_intensities(rows, measured.pixels.histograms[rows.index], path),
                title="Histogram of gray levels",
                caption=captions.describe_intensities(numbers["intensity"]),
                alt="Curves of the share of pixels at each gray level, one for each class",
            ),
            draw_into(
                measured,
                "mean_gray",
                lambda path: figures.draw_mean_gray(rows, path),
                title="Mean gray of a picture",
                caption=captions.describe_mean_gray(numbers["files"]),
                alt="Distribution of the mean gray of a picture in each class",
            ),
            draw_into(
                measured,
                "average_pictures",
                lambda path: sheets.draw_average_pictures(measured.pixels, path),
                title="Mean and standard-deviation pictures",
                caption=captions.describe_averages(numbers["average_difference"], labels),
                alt="Mean picture and standard-deviation picture of each class, and their difference",
                wide=True,
            ),
        ],
    )

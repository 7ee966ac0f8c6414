"""Your own data: columns by name, formats, parts, and errors that say where."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import CsvReader, HubReader, JsonLinesReader, TsvReader
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.columns import label_name
from sledgehammer.dataset_readers.holdout import dated_places, part_at
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.dataset_readers.tables import TableReader, format_of
from tests.conftest import TINY_BERT
from tests.dataset_readers.tables import TEXT, assert_named, rows, tables

NAMES = ["text", "label", "a", "b"]


@pytest.fixture(scope="module")
def reader() -> CsvReader:
    return CsvReader(model_name=TINY_BERT)


def made(kind: Any = CsvReader, **arguments: Any) -> TableReader:
    return kind(model_name=TINY_BERT, **arguments)


def write(path: Path, content: str) -> str:
    path.write_bytes(content.encode("utf-8"))
    return str(path)


def test_columns_by_name_in_any_order_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(
        tmp_path / "news.csv",
        "\ufeffid,section,body,headline\r\n"
        '7,sport,"They won,\r\nat last",Cup\r\n\r\n'
        '8, tech ,"a ""new"" chip",\r\n',
    )
    reader = made(text=["headline", "body"], label="section", id="id")
    assert rows(reader, path) == [
        Row(["Cup They won,\nat last"], "sport", {"id": "7"}),
        Row(['a "new" chip'], "tech", {"id": "8"}),
    ]
    assert reader.fields == ["text"]
    assert made(text="body").fields == ["body"]
    instance = next(iter(reader.read(path)))
    assert instance["label"].label == "sport"  # type: ignore[attr-defined]


def test_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.tsv", "q1\tq2\tsame\nwho?\twhat?\t0\n")
    reader = made(TsvReader, text="q1", second_text="q2", label="same", label_map={"0": "no"})
    assert rows(reader, path) == [Row(["who?", "what?"], "no")]
    assert reader.fields == ["q1", "q2"]
    (encoded,) = reader.encode([("who?", "what?")])
    instance = reader.text_to_instance("who?", "what?", label="no")
    type_ids = instance["tokens"].token_type_ids  # type: ignore[attr-defined]
    assert type_ids.tolist() == encoded["token_type_ids"] and 1 in type_ids


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_though_texts_are_full_of_others(
    delimiter: str, tmp_path: Path, reader: CsvReader
) -> None:
    path = tmp_path / "x.csv"
    texts = ["one; two, three | four\tfive"] * 3 + ["", '"quoted"', "; ; ; ;"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["text", "label"], *([text, "x"] for text in texts)])
    assert [row.texts[0] for row in rows(reader, path)] == texts


@tables
@given(
    table=st.lists(st.tuples(TEXT, st.sampled_from("xyz"), TEXT, TEXT), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    ends=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    order=st.permutations(range(4)),
)
def test_csv_reads_back_what_was_written(
    tmp_path: Path, reader: CsvReader, table: List[Any], delimiter: str, ends: str, mark: bool,
    order: List[int],
) -> None:  # fmt: skip
    path = tmp_path / "rows.csv"
    encoding = "utf-8-sig" if mark else "utf-8"
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ends)
        writer.writerow([NAMES[i] for i in order])
        writer.writerows([[row[i] for i in order] for row in table])
    assert rows(reader, path) == [Row([row[0]], row[1]) for row in table]


@tables
@given(st.lists(st.tuples(TEXT, st.sampled_from(["x", 3, True])), min_size=1, max_size=12))
def test_json_lines_read_back_what_was_written(
    tmp_path: Path, reader: CsvReader, table: List[Any]
) -> None:
    """The ending of a name says more than the reader's own format."""
    lines = [json.dumps({"text": text, "label": label, "z": []}) for text, label in table]
    path = write(tmp_path / "rows.jsonl", "\n\n".join(lines) + "\n")
    assert rows(reader, path) == [Row([text], label_name(label)) for text, label in table]


BAD_TABLES = [
    (b"", "row|no column|no rows"),
    (b"text,stars\na,b\n", "line 2: no column 'label': the columns are text, stars"),
    (b"text,label,label\na,b,c\n", "line 1: column 'label' stands there 2 times"),
    (b"text,label\na,b\nc\n", r"line 3: expected 2 fields \(text, label\), got 1"),
    (b"text,label\na,b,c\n", r"line 2: expected 2 fields \(text, label\), got 3"),
    (b'text,label\na,b\n"c,d\ne\n', "line 3: not CSV: unexpected end of data; if quotes mean"),
    (b'text,label\n"a"b,c\n', "line 2: not CSV"),
    (b"text,label\na,b\n\xff,b\n", "line 3: not UTF-8 text"),
    (b"text,label\na\x00,b\n", "line 2: a NUL byte"),
    (b"text,label\na, \n", "line 2: column 'label' is empty"),
    (b'text,label\n"a\n\nb",x\n"c",\n', "line 5: column 'label' is empty"),
]


@pytest.mark.parametrize("content, message", BAD_TABLES[1:])
def test_malformed_tables_are_named(
    content: bytes, message: str, tmp_path: Path, reader: CsvReader
) -> None:
    assert_named(reader, tmp_path, content, message)


def test_utf_16_and_an_empty_file_are_named(tmp_path: Path, reader: CsvReader) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("text,label\na,b\n".encode("utf-16"))
    with pytest.raises(ConfigurationError, match="x.csv, line 1: not UTF-8"):
        rows(reader, path)
    path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="no rows in"):
        read_rows(reader, str(path))


BAD_VALUES = [
    ('{"text": null, "label": "x"}', "column 'text' must be a text, got null"),
    ('{"text": "\\ud800", "label": "x"}', "column 'text' has a lone surrogate"),
    ('{"text": "a", "label": "\\ud800"}', "column 'label' has a lone surrogate"),
    ('{"text": "a", "label": 0.5}', "column 'label' must be a class .*, got 0.5"),
    ('{"text": "a", "label": ["x", "y"]}', "column 'label' must be a class .*, got a list"),
    ('{"text": "a", "label": null}', "column 'label' is empty"),
    ('{"text": "a"}', "no column 'label': the columns are text"),
    ('{"text": "a", "label": "x",}', "not JSON"),
]


@pytest.mark.parametrize("line, message", BAD_VALUES)
def test_bad_values_are_named(line: str, message: str, tmp_path: Path) -> None:
    content = f'{{"text": "a", "label": "x"}}\n{line}\n'
    assert_named(made(JsonLinesReader), tmp_path, content.encode(), f"line 2: {message}")


def test_quotes_that_mean_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", 'text\tlabel\n"Good" it said\tx\n')
    with pytest.raises(ConfigurationError, match='"quoted": false'):
        rows(made(TsvReader), path)
    assert rows(made(TsvReader, quoted=False), path) == [Row(['"Good" it said'], "x")]


def test_long_documents(tmp_path: Path, reader: CsvReader) -> None:
    path = write(tmp_path / "x.csv", f"text,label\n{'long ' * 50_000},x\n")
    assert len(rows(reader, path)[0].texts[0]) == 250_000


def test_label_maps(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label\na,1\nb,5\nc,3\nd,\n")
    names = {"1": "bad", "5": "good", "3": None, "": None}
    assert rows(made(label_map=names), path) == [Row(["a"], "bad"), Row(["b"], "good")]
    with pytest.raises(ConfigurationError, match=r"line 4: column 'label': '3' is not in label_ma"):
        rows(made(label_map={"1": "bad", "5": "good"}), path)


def test_rows_without_labels_where_none_are_needed(tmp_path: Path, reader: CsvReader) -> None:
    path = write(tmp_path / "x.csv", "text\na\n")
    assert read_rows(reader, path, labelled=False) == [Row(["a"], None)]
    with pytest.raises(ConfigurationError, match="no column 'label'"):
        read_rows(reader, path)


SHARES = {"validation": 0.2, "calibration": 0.1, "test": 0.2}


def parts(reader: TableReader, path: str) -> Dict[str, List[Row]]:
    return {
        part: list(reader.selected_rows(f"{path}#{part}"))
        for part in ("train", "validation", "calibration", "test")
    }


def test_parts_by_hash_are_disjoint_complete_and_near_their_shares(tmp_path: Path) -> None:
    lines = "".join(f"text {i % 900},x\n" for i in range(1000))
    path = write(tmp_path / "x.csv", "text,label\n" + lines)
    reader = made(shares=SHARES)
    found = parts(reader, path)
    assert sum(map(len, found.values())) == 1000
    texts = {part: {row.texts[0] for row in rows} for part, rows in found.items()}
    assert sum(map(len, texts.values())) == len(set.union(*texts.values())) == 900
    for part, share in {"train": 0.5, **SHARES}.items():
        assert len(found[part]) == pytest.approx(1000 * share, abs=60)
    # Fewer training rows are a subset, and leave the other parts as they are.
    fewer = parts(made(shares={"train": 0.1, **SHARES}), path)
    assert {row.texts[0] for row in fewer["train"]} < texts["train"]
    assert fewer["test"] == found["test"] and fewer["validation"] == found["validation"]


def test_groups_stay_together_and_no_text_is_in_two_parts(tmp_path: Path) -> None:
    lines = "".join(f"text {i},x,author {i % 40}\n" for i in range(400))
    shared = "".join(f"thanks,x,author {i}\n" for i in range(40))
    path = write(tmp_path / "x.csv", "text,label,who\n" + lines + shared)
    found = parts(made(shares=SHARES, group="who"), path)
    of_text = {row.texts[0]: part for part, rows in found.items() for row in rows}
    by_author: Dict[int, set] = {}
    for i in range(400):
        by_author.setdefault(i % 40, set()).add(of_text[f"text {i}"])
    assert all(len(where) == 1 for where in by_author.values())
    assert set.union(*by_author.values()) == set(found)
    assert Counter(r.texts[0] == "thanks" for r in found["test"])[True] == 0
    assert any(row.texts[0] == "thanks" for row in found["train"])


@pytest.mark.parametrize(
    "dates",
    [
        [f"2024-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(100)],
        [f"2024-05-01T00:{i // 60:02}:{i % 60:02}Z" for i in range(100)],
        [str(i) for i in range(100)],
    ],
)
def test_the_latest_rows_are_the_test(dates: List[str], tmp_path: Path) -> None:
    order = sorted(range(100), key=lambda i: i * 37 % 100)
    path = write(
        tmp_path / "x.csv", "text,label,when\n" + "".join(f"t{i},x,{dates[i]}\n" for i in order)
    )
    found = parts(made(shares=SHARES, time="when"), path)
    moments = {part: [int(row.texts[0][1:]) for row in rows] for part, rows in found.items()}
    assert {part: len(when) for part, when in moments.items()} == {
        "train": 50, "validation": 20, "calibration": 10, "test": 20,
    }  # fmt: skip
    assert max(moments["train"]) < min(moments["validation"])
    assert max(moments["validation"]) < min(moments["calibration"])
    assert max(moments["calibration"]) < min(moments["test"])


def test_rows_of_one_moment_stay_together() -> None:
    places = dated_places([2024, 2024, 2020, 2023])
    assert places == [0.0, 0.0, 0.75, 0.5]
    assert [part_at(place, {"train": 0.5, "test": 0.5}) for place in places] == [
        "test", "test", "train", "train",
    ]  # fmt: skip


def test_bad_dates_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label,when\na,x,2024-01-01\nb,x,soon\n")
    with pytest.raises(
        ConfigurationError, match=r"x.csv, line 3: column 'when' must be dates.*soo"
    ):
        list(made(shares=SHARES, time="when").selected_rows(path + "#test"))


BAD_ARGUMENTS: List[Any] = [
    ({"shares": {"dev": 0.1}}, "no part 'dev'"),
    ({"shares": {"test": 0}}, "test must be above 0"),
    ({"shares": {"test": 0.6, "validation": 0.4}}, "none is left to train"),
    ({"shares": {"test": 0.5}, "validation_size": 3}, "shares or a validation_size"),
    ({"group": "a", "time": "b"}, "by group or by time"),
    ({"delimiter": ", "}, "one character"),
    ({"text": []}, "text must name a column"),
    ({"text": "a", "label": "a"}, "'a' is named twice"),
]


@pytest.mark.parametrize("arguments, message", BAD_ARGUMENTS)
def test_bad_arguments(arguments: Dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(**arguments)


def test_parts_that_there_are_not(tmp_path: Path, reader: CsvReader) -> None:
    path = write(tmp_path / "x.csv", "text,label\na,x\nb,x\n")
    with pytest.raises(ConfigurationError, match="give the dataset reader a validation_size"):
        list(reader.selected_rows(path + "#test"))
    with pytest.raises(ConfigurationError, match="divides rows into #train and #validation"):
        list(made(validation_size=1).selected_rows(path + "#test"))
    with pytest.raises(ConfigurationError, match="shares names no calibration"):
        list(made(shares={"test": 0.5}).selected_rows(path + "#calibration"))
    with pytest.raises(
        ConfigurationError, match=r"#test has no rows: its share of 2 rows is 1e-06"
    ):
        list(made(shares={"test": 1e-6}).selected_rows(path + "#test"))


def test_formats_by_name() -> None:
    names = ["a.csv", "a.TSV#test", "a.jsonl", "http://x/a.parquet", "a.txt", "imdb"]
    assert [format_of(n, "hf") for n in names] == ["csv", "tsv", "jsonl", "parquet", "hf", "hf"]


def test_archives_of_other_readers_take_tables_that_are_named(
    tmp_path: Path, sst_reader: Any, snli_reader: Any
) -> None:
    path = write(tmp_path / "x.txt", "label;text\npositive;fun\n")
    assert read_rows(sst_reader, path, data_format="csv") == [Row(["fun"], "positive")]
    path = write(tmp_path / "y", '{"premise": "p", "hypothesis": "h", "label": "neutral"}\n')
    assert read_rows(snli_reader, path, data_format="jsonl") == [Row(["p", "h"], "neutral")]


def test_parquet(tmp_path: Path) -> None:
    reader = made(DatasetReader.by_name("sledgehammer_parquet"), label="stars")
    path = tmp_path / "x.parquet"
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(ConfigurationError, match="need pyarrow: pip install pyarrow"):
            rows(reader, path)
        return
    parquet.write_table(pyarrow.table({"z": [1, 2], "text": ["a", "b"], "stars": [5, 1]}), path)
    assert rows(reader, path) == [Row(["a"], "5"), Row(["b"], "1")]
    assert_named(reader, tmp_path, b"PAR1", "row 1: not Parquet")
    parquet.write_table(pyarrow.table({"text": ["a", None], "stars": [1, 2]}), path)
    with pytest.raises(ConfigurationError, match="row 2: column 'text' must be a text, got null"):
        rows(reader, path)


def test_datasets_of_hugging_face(tmp_path: Path) -> None:
    reader = made(HubReader)
    try:
        import datasets
    except ImportError:
        with pytest.raises(ConfigurationError, match="need datasets: pip install datasets"):
            rows(reader, tmp_path)
        return
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    table.save_to_disk(str(tmp_path / "one"))
    assert rows(reader, tmp_path / "one") == [Row(["a"], "yes"), Row(["b"], "no")]
    datasets.DatasetDict(train=table, test=table).save_to_disk(str(tmp_path / "two"))
    assert len(rows(reader, f"{tmp_path}/two!test")) == 2
    with pytest.raises(ConfigurationError, match=r"several splits: give .*two!train or .*two!test"):
        rows(reader, tmp_path / "two")
    with pytest.raises(ConfigurationError, match="no dataset at"):
        rows(reader, tmp_path)

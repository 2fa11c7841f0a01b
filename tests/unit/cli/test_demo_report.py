"""The demo's figures come from outside the mesh and add up."""

from __future__ import annotations

from pathlib import Path, PurePath

from mesh.cli import demo_report
from mesh.cli.demo_report import Survey, account, longest_pause_s, standard_library


def test_every_source_file_of_the_standard_library_is_taken_and_nothing_installed_beside_it() -> None:
    files = standard_library()
    assert Path(ast_source()) in files
    assert not [path for path in files if "site-packages" in path.parts]
    assert len(files) > 500


def ast_source() -> str:
    import ast

    return ast.__file__


def test_a_file_counts_for_its_top_level_package() -> None:
    survey = Survey()
    survey.add(PurePath("json/decoder.py"), {"lines": 10, "functions": 2, "longest": ("scan", 7), "imports": ["re"]})
    survey.add(PurePath("json/encoder.py"), {"lines": 5, "functions": 1, "longest": ("dump", 3), "imports": ["re", "os"]})
    survey.add(PurePath("ast.py"), {"lines": 40, "functions": 9, "longest": ("walk", 4), "imports": []})
    assert survey.rows() == [("ast", 1, 40, 9, "walk (4 lines)"), ("json", 2, 15, 3, "scan (7 lines)")]
    assert survey.most_imported() == "re 2, os 1"


def test_a_package_without_functions_has_no_longest_one() -> None:
    survey = Survey()
    survey.add(PurePath("topics.py"), {"lines": 10, "functions": 0, "longest": ("", 0), "imports": []})
    assert survey.rows() == [("topics", 1, 10, 0, "")]


def test_the_account_counts_lost_and_repeated_files_and_the_pause_after_the_kill() -> None:
    starts = "1.0\t7\ta.py\n3.0\t7\tb.py\n3.5\t8\tc.py\n4.9\t8\tb.py\n"
    seen = account(4, 3, starts, killed_at=3.6)
    assert (seen.lost, seen.twice, round(seen.pause_s, 3)) == (1, 1, 1.4)


def test_a_pause_before_the_kill_does_not_count() -> None:
    assert longest_pause_s([0.0, 10.0, 11.0], since=10.5) == 1.0
    assert longest_pause_s([], since=0.0) == 0.0
    assert demo_report.account(0, 0, "", None).pause_s == 0.0

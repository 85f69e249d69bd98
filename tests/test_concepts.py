"""Every Python block of the concept pages runs, in order, and prints what the block after it shows."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parent.parent / "docs" / "concepts").glob("*.md"))
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_concept_page_says_what_it_prints(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": page.stem}
    for code, printed in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(code, page.name, "exec"), space)
        said = capsys.readouterr().out.replace(",", " ").replace(":", " ").split()
        shown = printed.replace(",", " ").replace(":", " ").split()
        assert len(said) == len(shown), f"{page.name} prints {said}"
        for word, expected in zip(said, shown, strict=True):
            if re.fullmatch(r"-?\d+(\.\d+)?", expected):  # another processor rounds otherwise
                digits = len(expected.partition(".")[2])
                assert float(word) == pytest.approx(float(expected), rel=0.05, abs=1.01 * 10**-digits), code
            else:
                assert word == expected, code

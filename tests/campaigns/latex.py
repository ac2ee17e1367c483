"""Every LaTeX table of a study compiles in a two-column page, and none is wider than its place. Needs pdflatex.

    apt-get install texlive-latex-base texlive-latex-recommended
    python tests/campaigns/latex.py REPORT/tables

Exit status 1 if a table does not compile or is overfull by more than 1 pt.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = r"""\documentclass[twocolumn]{article}
\usepackage[margin=2cm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def overfull(table: Path) -> list[float]:
    """By how many points the boxes of one table are too wide; RuntimeError where it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.tex").write_text(PAGE % table.read_text(encoding="utf-8"), encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise RuntimeError(f"{table.name}: " + "; ".join(line for line in done.stdout.splitlines() if line.startswith("!")))
        return [float(width) for width in re.findall(r"Overfull \\hbox \((\d+\.?\d*)pt too wide\)", done.stdout)]


def main(folder: Path) -> int:
    worst = 0.0
    tables = sorted(folder.glob("*.tex"))
    assert tables, f"no table in {folder}"
    for table in tables:
        widths = overfull(table)
        worst = max([worst, *widths])
        print(f"{table.stem}: " + (", ".join(f"{width:.1f} pt too wide" for width in widths) or "fits"))
    return 1 if worst > 1 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

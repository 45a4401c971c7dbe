"""The report's sheets as LaTeX, for a paper: booktabs tables with their footnotes below."""

from fsr.report.sheets import Cell, Chapter, Sheet

PREAMBLE = "% \\usepackage{booktabs,graphicx} and, where the engine reads bytes, \\usepackage[T1]{fontenc}\n"
WIDE = 7  # columns from which a table is scaled down to the line
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--", "−": "$-$", "∞": r"$\infty$", "×": r"$\times$", "±": r"$\pm$", "°": r"$^\circ$", "→": r"$\rightarrow$",
    "·": r"$\cdot$", "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip


def escape(text: str) -> str:
    """The text as LaTeX sets it: special characters and the signs the sheets use written out."""
    return "".join(SPECIAL.get(character, character) for character in text)


def chapter_latex(chapter: Chapter) -> str:
    """The text, the remarks as a list, the sheets, the conclusion."""
    remarks = ""
    if chapter.remarks:
        items = "".join(f"\\item {escape(remark)}\n" for remark in chapter.remarks)
        remarks = f"\\begin{{itemize}}\n{items}\\end{{itemize}}\n"
    conclusion = f"{escape(chapter.conclusion)}\n" if chapter.conclusion else ""
    sheets = [sheet_latex(sheet) for sheet in chapter.sheets]
    return "\n".join(filter(None, [PREAMBLE + escape(chapter.text) + "\n", remarks, *sheets, conclusion]))


def sheet_latex(sheet: Sheet) -> str:
    """A table environment: caption, booktabs rules, bold cells, numbered footnotes."""
    aligned = "".join("l" if sheet.is_text(index) else "r" for index in range(len(sheet.columns)))
    body = [rf"{' & '.join(_cell(sheet, cell) for cell in cells)} \\" for cells in sheet.rows]
    table = [rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", rf"{' & '.join(map(escape, sheet.columns))} \\",
             r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]  # fmt: skip
    if len(sheet.columns) >= WIDE:
        table = [r"\resizebox{\linewidth}{!}{%", *table[:-1], r"\end{tabular}}"]
    notes = [rf"\textsuperscript{{{number}}} {escape(note)}\\" for number, note in enumerate(sheet.notes, start=1)]
    if notes:
        notes = [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize", *notes, r"\end{minipage}"]
    opening = [r"\begin{table}[htbp]", r"\centering\small", rf"\caption{{{escape(sheet.caption)}}}"]
    return "\n".join([*opening, *table, *notes, r"\end{table}"]) + "\n"


def _cell(sheet: Sheet, cell: Cell) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.bold else escape(cell.text)
    note = rf"\textsuperscript{{{sheet.note(cell)}}}" if cell.footnote else ""
    # A line that begins with a bracket would be taken for the option of the line break before it.
    interval = rf" {{\scriptsize {escape(cell.interval)}}}" if cell.interval else ""
    return ("{}" if text.startswith("[") else "") + text + note + interval

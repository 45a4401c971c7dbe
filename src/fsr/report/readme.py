"""Generated blocks of a Markdown file."""


def replace_block(text: str, name: str, content: str) -> str:
    """`text` with what stands between `<!-- fsr:NAME -->` and `<!-- /fsr:NAME -->` replaced by `content`.

    Raises:
        ValueError: the pair of markers does not stand there exactly once, in this order.
    """
    start, end = f"<!-- fsr:{name} -->", f"<!-- /fsr:{name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"the text needs {start} and, below it, {end}, once each; put them where {name} belongs")
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content.strip()}\n{end}{after}"

import pytest

from fsr.provenance import module_sources


def names(*modules):
    return {file.name for file in module_sources(*modules)}


def test_sources_follow_imports_and_nothing_else():
    assert {"trainer.py", "field.py", "objective.py", "latents.py", "method.py"} <= names("train")
    assert "runtime.py" not in names("train")
    assert names("files") == {"files.py"}


def test_importing_a_name_from_a_package_follows_the_package():
    assert {"frozen.py", "split.py"} <= names("flow.path")


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no module fsr.nothing"):
        module_sources("nothing")

"""Lock: what a study writes, held against DVC while jobs run, as Snakemake holds it against another Snakemake.

A stage that DVC runs holds it already; it makes the folders that DVC wants to find after it, public and private, empty or not.
"""

import os
from contextlib import ExitStack

HELD = ExitStack()


def keep_dvc_out():
    """Hold what a study writes, as `dvc repro` does: DVC would remove it while jobs write it. A stage of DVC's holds it itself."""
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / ".dvc").is_dir()), None)
    if root is None or os.environ.get("DVC_STAGE"):
        return
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    (root / ".dvc/tmp").mkdir(exist_ok=True)
    written = [str(Path(folder).absolute()) for folder in ("data/raw", "data/latents", RESULTS)]
    try:
        HELD.enter_context(rwlock(str(root / ".dvc/tmp"), localfs, "snakemake", [], written, False))
    except LockError as error:
        raise WorkflowError(f"{error} Wait for it to end, or stop it.") from None


onstart:
    keep_dvc_out()
    for folder in apart(os.environ.get("DVC_STAGE", "")):
        Path(folder).mkdir(parents=True, exist_ok=True)


onsuccess:
    HELD.close()


onerror:
    HELD.close()

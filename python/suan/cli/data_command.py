"""`suan data prepare`: text to token files, with progress."""

import json as jsonlib
import sys
import time

from ..data.tokens import prepare


def prepare_command(inputs, out, tokenizer, val, field, json):
    show = sys.stderr.isatty() and not json
    bar, tasks = None, {}
    if show:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
                       transient=True)
        bar.start()
    said = [time.monotonic()]

    def progress(what, done, total):
        if bar is not None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)
        elif not json and time.monotonic() - said[0] > 5:  # a line now and then, for files and pipes
            said[0] = time.monotonic()
            print(f"{what}: {100 * done // max(total, 1)} %", file=sys.stderr, flush=True)

    try:
        meta = prepare(inputs, out, tokenizer, val, field, progress)
    finally:
        if bar is not None:
            bar.stop()
    if json:
        print(jsonlib.dumps(meta))
        return
    for name, n in meta["tokens"].items():
        print(f"{out / name}.bin: {n:,} tokens")
    print(f"{meta['vocabulary']} different tokens ({meta['tokenizer']}), {meta['dtype']}; see {out / 'meta.json'}")

"""Scaling measurements: their arithmetic on made logs, and real ranks end to end."""

import json
import re
import subprocess
import sys

import pytest

from suan.scaling import comm, raw, report


def write_run(folder, ranks, seconds, block=64, joules=None):
    for r in range(ranks):
        log = raw.Log(folder / "raw" / str(ranks), r)
        log.write("start", ranks=ranks, rank=r, suan="0", options={"model": "m", "scaling": "weak", "stage": 0,
                  "threads": 1, "warm": 1}, batch=12 * ranks, rows=12, config={"layers": 4, "width": 128,
                  "block": block}, parameters=1000, flops_per_token=5000, matmul_flops=1e9, host="h",
                  processor="p", cpus=2, system="s")
        log.write("step", i=0, warm=True, seconds=99, data=0, waited=0, moved=0, exposed_waited=0,
                  exposed_moved=0, bytes=0, calls=0, loss=9)
        for i, s in enumerate(seconds):
            log.write("step", i=i + 1, warm=False, seconds=s - 0.001 * r, data=0.01, waited=0.02, moved=0.03,
                      exposed_waited=0.004, exposed_moved=0.006, bytes=10, calls=2, loss=4 - i)
        log.write("end", joules=joules, no_joules=None if joules else "no counters <here>", state_bytes=100 + r,
                  arena_bytes=10, resident_peak=1000)
        log.close()


def test_numbers_come_from_the_raw_logs(tmp_path):
    write_run(tmp_path, 1, [0.2, 0.1, 0.3])
    write_run(tmp_path, 2, [0.25, 0.2, 0.4], joules=7.0)
    one, two = report.summarise(tmp_path, "cmd")["runs"]
    assert one["step_seconds"] == 0.2 and two["step_seconds"] == 0.25
    assert one["tokens_per_second"] == pytest.approx(12 * 64 / 0.2)
    assert two["tokens_per_second"] == pytest.approx(24 * 64 / 0.25)
    assert two["efficiency"] == pytest.approx(0.2 / 0.25)
    assert two["mfu"] == pytest.approx(24 * 64 / 0.25 * 5000 / 2e9)
    split = one["split_seconds"]
    assert split == pytest.approx({"compute": 0.2 - 0.02, "communication": 0.006, "idle": 0.004, "data": 0.01})
    assert one["collective_seconds"] == pytest.approx(0.05) and one["hidden"] == pytest.approx(0.8)
    assert one["joules"] is None and "no counters" in one["why_no_joules"]
    assert two["joules"] == 7.0  # one machine's counters, once
    assert two["joules_per_token"] == pytest.approx(7.0 / (24 * 64 * 3))
    assert two["state_bytes"] == 101 and two["last_loss"] == 2


def test_a_page_stands_alone_in_both_languages(tmp_path):
    write_run(tmp_path, 1, [0.2])
    write_run(tmp_path, 2, [0.25])
    for lang, title, unmeasured in (("en", "Scaling of data-parallel training", "not measured"),
                                    ("zh", "数据并行训练的扩展性", "未测量")):
        report.write(tmp_path, "suan scale train --out <x>", lang)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert title in text and unmeasured in text and "80.0%" in text
        assert "suan scale train --out &lt;x&gt;" in text and "no counters &lt;here&gt;" in text
        assert not re.search(r'(src|href)=|url\(|@import|<script', text)
    assert json.loads((tmp_path / "report.json").read_text())["runs"][1]["ranks"] == 2


def test_logs_that_are_cut_short_or_missing_are_named(tmp_path):
    write_run(tmp_path, 2, [0.2])
    log = tmp_path / "raw" / "2" / "rank1.jsonl"
    whole = log.read_text()
    log.write_text(whole.rsplit("\n", 2)[0])
    with pytest.raises(ValueError, match=r"\[scale\] raw log is cut short"):
        report.summarise(tmp_path, "")
    log.write_text(whole[:-20])
    with pytest.raises(ValueError, match=r"\[scale\] bad line.*rank1.jsonl:4"):
        report.summarise(tmp_path, "")
    (tmp_path / "raw" / "2" / "rank0.jsonl").unlink()
    with pytest.raises(ValueError, match=r"\[scale\] raw logs are missing"):
        report.summarise(tmp_path, "")


def test_a_fit_finds_latency_and_bandwidth():
    rows = [(n, 20e-6 + n / 2e9) for n in (1 << 10, 1 << 14, 1 << 18, 1 << 22)]
    assert report.fit(rows) == pytest.approx((20e-6, 2e9), rel=1e-6)
    assert report.fit([(1024, 1e-5), (4096, 1e-5)])[1] is None


def test_bus_bandwidth_and_expected_values():
    assert comm.bus_factor("all_reduce", 4) == 1.5 and comm.bus_factor("all_gather", 4) == 0.75
    assert comm.bus_factor("broadcast", 4) == 1
    assert comm.expected("reduce_scatter", 1, 2, 4).tolist() == [5, 7]
    assert comm.expected("all_gather", 0, 2, 4).tolist() == [0, 1, 1, 2]


def suan_command(*args):
    return subprocess.run([sys.executable, "-m", "suan", *args], capture_output=True, text=True, timeout=300)


def test_collectives_of_two_real_ranks(tmp_path):
    done = suan_command("scale", "comm", "--ranks", "2", "--min-bytes", "64", "--max-bytes", "65536", "--out",
                        str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    rows, fits = report.collectives(tmp_path / "raw" / "comm-2")
    assert rows == result["rows"] and set(fits) == set(comm.OPS)
    assert len(rows) == 4 * 6 and all(r["wrong"] == 0 and 0 < r["p50"] <= r["p99"] for r in rows)
    assert {r["size"] for r in rows} == {64 * 4**k for k in range(6)}


def test_training_on_one_and_two_real_ranks(tmp_path):
    done = suan_command("scale", "train", "--ranks", "1,2", "--model", "char_gpt_small", "--steps", "2", "--warm",
                        "1", "--scaling", "strong", "--lang", "zh", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    one, two = report.summarise(tmp_path, "")["runs"]
    assert [one["ranks"], two["ranks"]] == [1, 2] and one["sequences"] == two["sequences"] == 12
    assert two["last_loss"] == pytest.approx(one["last_loss"], rel=1e-4)
    assert two["bytes_per_step_and_rank"] > 0 == one["bytes_per_step_and_rank"]
    assert one["hidden"] is None and two["collective_seconds"] > 0 and 0 <= two["hidden"] <= 1
    assert all(s >= 0 for s in two["split_seconds"].values())
    assert "数据并行" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("args, message", [
    (("train", "--ranks", "1,x", "--model", "char_gpt"), "bad --ranks"),
    (("train", "--ranks", "5", "--model", "char_gpt", "--scaling", "strong"), "batch does not divide"),
    (("train", "--ranks", "2", "--model", "nothing"), "unknown model"),
    (("comm", "--ranks", "2", "--min-bytes", "4"), "bad sizes"),
])
def test_wrong_options(args, message, tmp_path):
    done = suan_command("scale", *args, "--out", str(tmp_path))
    assert done.returncode == 1 and "[scale] " + message in done.stderr

"""Processes that are killed at their worst moments and go on leave what nobody's kill would have left;
`make kill` does it 100 times."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name == "nt", reason="victims are forked")
def test_six_kills_change_no_bit_and_lose_no_row() -> None:
    script = Path(__file__).parent / "kill_campaign.py"
    command = [sys.executable, str(script), "--kills", "6", "--seed", "1"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = dict(re.findall(r"^(\S+(?: \S+)?) +(\d+)", done.stdout, re.MULTILINE))
    assert set(rows) == {"fit", "grid", "pre-training", "image cache", "all"}
    assert all(int(kills) >= 1 for kills in rows.values())
    assert int(rows["all"]) >= 6

"""The files for service managers: expected texts, and words that have another meaning for a service manager."""

from __future__ import annotations

import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from midfill.commands import units
from midfill.commands.units import TASKS, Service

PLAIN = Service("mine", ("/usr/bin/python3", "-P", "-m", "midfill", "train", "/home/me/code", "--name=mine", "--night"))
ODD_WORDS = (
    "/a b/it's",
    '"quoted" 100%',
    "back\\slash\\",
    "$HOME ${X}",
    "ü ☃",
    "a;b|c`d`&<>",
    "two\nlines",
    "%i %%",
    "",
)
ODD = Service("odd", ("/usr/bin/python3", *ODD_WORDS), {"MIDFILL_DATA_DIR": '/da ta/"100%"/$x\\'})

SERVICE = """\
[Unit]
Description=midfill: train the adapter mine while the computer is idle

[Service]
Type=exec
ExecStart="/usr/bin/python3" "-P" "-m" "midfill" "train" "/home/me/code" "--name=mine" "--night"
KillMode=mixed
TimeoutStopSec=5
OOMScoreAdjust=500
IOSchedulingClass=idle
"""
TIMER = """\
[Unit]
Description=midfill: every evening, wait until the computer is idle and train mine

[Timer]
OnCalendar=*-*-* 20:00:00
Persistent=true

[Install]
WantedBy=timers.target
"""


def test_systemd() -> None:
    plan = units.systemd(PLAIN, Path("/home/me/.config"))
    folder = Path("/home/me/.config/systemd/user")
    assert dict(plan.files) == {
        folder / "midfill-train-mine.service": SERVICE,
        folder / "midfill-train-mine.timer": TIMER,
    }
    assert plan.begin[-1] == ("systemctl", "--user", "enable", "--now", "midfill-train-mine.timer")
    assert plan.end[0] == ("systemctl", "--user", "disable", "--now", "midfill-train-mine.timer")


def test_systemd_quotes() -> None:
    service = dict(units.systemd(ODD, Path("/c")).files)[Path("/c/systemd/user/midfill-train-odd.service")]
    assert service.count("\n") == SERVICE.count("\n") + 1  # a line end in a word does not end the line
    assert 'Environment="MIDFILL_DATA_DIR=/da ta/\\"100%%\\"/$x\\\\"\n' in service
    (line,) = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    assert line == (
        'ExecStart="/usr/bin/python3" "/a b/it\'s" "\\"quoted\\" 100%%" "back\\\\slash\\\\" "$$HOME $${X}" "ü ☃" '
        '"a;b|c`d`&<>" "two\\nlines" "%%i %%%%" ""'
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("service", [PLAIN, ODD])
def test_systemd_takes_it(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    plan = units.systemd(service, tmp_path)
    for file, text in plan.files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding=plan.encoding)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *(str(file) for file, _ in plan.files)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("service", [PLAIN, ODD])
def test_launchd(service: Service) -> None:
    plan = units.launchd(service, Path("/Users/me"), 501)
    ((file, text),) = plan.files
    assert file == Path(f"/Users/me/Library/LaunchAgents/org.midfill.train.{service.name}.plist")
    content = plistlib.loads(text.encode("utf-8"))
    assert content["ProgramArguments"] == list(service.command)
    assert content["EnvironmentVariables"] == dict(service.environment)
    assert content["StartCalendarInterval"] == {"Hour": 20, "Minute": 0}
    assert plan.begin == (("launchctl", "bootstrap", "gui/501", str(file)),)
    assert plan.end == (("launchctl", "bootout", f"gui/501/org.midfill.train.{service.name}"),)


def test_task_scheduler() -> None:
    service = Service(
        "mine", ("C:\\Program Files\\Python\\pythonw.exe", "-P", "C:\\my code\\a&b <c>\\", 'say "hi"', "x")
    )
    plan = units.task_scheduler(service, Path("data"))
    ((file, text),) = plan.files
    root = ElementTree.fromstring(text.partition("\n")[2])
    found = {name: root.findtext(f".//{{{TASKS}}}{name}") for name in ("Command", "Arguments", "StartBoundary")}
    assert found == {
        "Command": "C:\\Program Files\\Python\\pythonw.exe",
        "Arguments": '-P "C:\\my code\\a&b <c>\\\\" "say \\"hi\\"" x',
        "StartBoundary": "2026-01-01T20:00:00",
    }
    assert text.startswith('<?xml version="1.0" encoding="UTF-16"?>')
    assert (plan.encoding, file.name) == ("utf-16", "midfill-train-mine.xml")
    assert plan.begin == (("schtasks", "/Create", "/F", "/TN", "midfill-train-mine", "/XML", str(file)),)


def test_cron() -> None:
    assert units.cron(PLAIN) == ("0 20 * * * /usr/bin/python3 -P -m midfill train /home/me/code --name=mine --night")
    line = units.cron(ODD)
    assert "\n" not in line
    assert line.startswith("0 20 * * * env 'MIDFILL_DATA_DIR=/da ta/\"100\\%\"/$x\\' /usr/bin/python3 ")
    words = shlex.split(line.replace("\\%", "%"))[5:]
    assert words[2:] == ["/usr/bin/python3", *(word.replace("\n", " ") for word in ODD_WORDS)]

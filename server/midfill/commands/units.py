"""What the system needs to start a night of training: for systemd, launchd, the Task Scheduler; or cron.

Pure: an Installation says which files to write and which commands to run, and no shell reads any of it.
"""

from __future__ import annotations

import plistlib
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

HOUR = 20  # hour of the evening at which the wait for idleness begins
STOP_S = 5  # seconds that the system gives the service to end
TASKS = "http://schemas.microsoft.com/windows/2004/02/mit/task"


@dataclass(frozen=True, slots=True)
class Service:
    """A night: the command, without a shell in between, and the environment variables that it needs."""

    name: str  # of the adapter: letters, digits, dot, dash, underscore
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Installation:
    """Files with their content, the commands that install and remove the service, and a remark."""

    manager: str
    files: tuple[tuple[Path, str], ...]
    begin: tuple[tuple[str, ...], ...]
    end: tuple[tuple[str, ...], ...]
    remark: str = ""
    encoding: str = "utf-8"


def systemd(service: Service, config_home: Path) -> Installation:
    """Return a timer and a service of the user's own systemd."""
    unit = f"midfill-train-{service.name}"
    folder = config_home / "systemd" / "user"
    program, *arguments = service.command
    lines = [
        "[Unit]",
        f"Description=midfill: train the adapter {service.name} while the computer is idle",
        "",
        "[Service]",
        "Type=exec",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(service.environment.items())),
        # Variables are replaced in the arguments only, so only there a dollar sign must be doubled.
        "ExecStart=" + " ".join([_quoted(program), *(_quoted(one).replace("$", "$$") for one in arguments)]),
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S}",
        "OOMScoreAdjust=500",
        "IOSchedulingClass=idle",
        "",
    ]
    timer = [
        "[Unit]",
        f"Description=midfill: every evening, wait until the computer is idle and train {service.name}",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {HOUR:02d}:00:00",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ]
    control = ("systemctl", "--user")
    return Installation(
        "systemd",
        ((folder / f"{unit}.service", "\n".join(lines)), (folder / f"{unit}.timer", "\n".join(timer))),
        ((*control, "daemon-reload"), (*control, "enable", "--now", f"{unit}.timer")),
        ((*control, "disable", "--now", f"{unit}.timer"), (*control, "stop", f"{unit}.service")),
        "It runs while you are logged in; `loginctl enable-linger` lets it run when you are not.",
    )


def _quoted(text: str) -> str:
    """Return one word of a unit file: quotes and backslashes escaped, no specifier."""
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def launchd(service: Service, home: Path, uid: int) -> Installation:
    """Return an agent of macOS."""
    label = f"org.midfill.train.{service.name}"
    file = home / "Library" / "LaunchAgents" / f"{label}.plist"
    content = {
        "Label": label,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": dict(service.environment),
        "StartCalendarInterval": {"Hour": HOUR, "Minute": 0},
        "LowPriorityIO": True,
        "ExitTimeOut": STOP_S,
    }
    domain = f"gui/{uid}"
    return Installation(
        "launchd",
        ((file, plistlib.dumps(content).decode("utf-8")),),
        (("launchctl", "bootstrap", domain, str(file)),),
        (("launchctl", "bootout", f"{domain}/{label}"),),
        "It runs while you are logged in.",
    )


def task_scheduler(service: Service, folder: Path) -> Installation:
    """Return a task of Windows. Its environment is the user's own."""
    task = f"midfill-train-{service.name}"
    program, *arguments = service.command
    root = ElementTree.Element("Task", {"version": "1.2", "xmlns": TASKS})
    _add(
        root,
        ("RegistrationInfo", "Description"),
        f"midfill: train the adapter {service.name} while the computer is idle",
    )
    trigger = _add(root, ("Triggers", "CalendarTrigger"))
    _add(trigger, ("StartBoundary",), f"2026-01-01T{HOUR:02d}:00:00")
    _add(trigger, ("ScheduleByDay", "DaysInterval"), "1")
    settings = _add(root, ("Settings",))
    # The night itself waits for mains power and idleness; the system's own conditions would not continue after an
    # interruption.
    for name, value in (
        ("MultipleInstancesPolicy", "IgnoreNew"), ("DisallowStartIfOnBatteries", "false"),
        ("StopIfGoingOnBatteries", "false"), ("StartWhenAvailable", "true"), ("ExecutionTimeLimit", "PT16H"),
    ):  # fmt: skip
        _add(settings, (name,), value)
    action = _add(root, ("Actions", "Exec"))
    _add(action, ("Command",), program)
    _add(action, ("Arguments",), subprocess.list2cmdline(arguments))
    ElementTree.indent(root)
    file = folder / f"{task}.xml"
    text = '<?xml version="1.0" encoding="UTF-16"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    return Installation(
        "the Task Scheduler",
        ((file, text),),
        (("schtasks", "/Create", "/F", "/TN", task, "/XML", str(file)),),
        (("schtasks", "/End", "/TN", task), ("schtasks", "/Delete", "/F", "/TN", task)),
        "It runs while you are logged in.",
        "utf-16",
    )


def _add(parent: ElementTree.Element, path: Sequence[str], text: str | None = None) -> ElementTree.Element:
    for name in path:
        parent = ElementTree.SubElement(parent, name)
    parent.text = text
    return parent


def cron(service: Service) -> str:
    """Return a line for ``crontab -e``, if there is no service manager. Here a shell reads it, and cron ends it at a
    %."""
    words = [f"{name}={value}" for name, value in sorted(service.environment.items())]
    words = [*(["env", *words] if words else []), *service.command]
    return f"0 {HOUR} * * * {shlex.join(words)}".replace("%", "\\%").replace("\n", " ")

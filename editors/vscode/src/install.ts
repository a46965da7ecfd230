/** Offers to install midfill: it writes the command into a terminal, and the user presses Enter. */

import * as vscode from 'vscode';
import { installer } from './find.ts';
import { MACHINE, folders } from './session.ts';

const LOOK_MS = 3000;
const PROMPT_MS = 500; // a shell that has not printed its prompt yet would show the command twice
const IS_WINDOWS = process.platform === 'win32';
const PACKAGE = IS_WINDOWS ? '"midfill[embedded]"' : "'midfill[embedded]'";
// A separate environment, because many systems refuse `pip install` outside of one. find.ts looks there.
const OWN = IS_WINDOWS
  ? `py -m venv "$HOME/.local/share/midfill/venv"; & "$HOME/.local/share/midfill/venv/Scripts/pip" install ${PACKAGE}`
  : `python3 -m venv ~/.local/share/midfill/venv && ~/.local/share/midfill/venv/bin/pip install ${PACKAGE}`;
const WAYS: { needs: string; command: (program: string) => string }[] = [
  { needs: 'uv', command: (uv) => `${quoted(uv)} tool install ${PACKAGE}` },
  { needs: 'pipx', command: (pipx) => `${quoted(pipx)} install ${PACKAGE}` },
  { needs: IS_WINDOWS ? 'py' : 'python3', command: () => OWN },
];

/** Let the user choose among the installers that this machine has. */
export async function install(): Promise<void> {
  const programs = new Map(WAYS.map(({ needs }) => [needs, installer(needs, folders(), MACHINE)]));
  const there = WAYS.filter(({ needs }) => programs.get(needs));
  const picks = (there.length ? there : WAYS).map(({ needs, command }) => ({
    label: command(programs.get(needs) || needs), description: there.length ? '' : `needs ${needs}, which was not found`,
  }));
  const locate = { label: 'Already installed? Set its path…', description: 'the setting midfill.path' };
  const title = 'Install midfill with its embedded model (about 1 GB with PyTorch)';
  const placeHolder = 'Pastes the command into a terminal. Nothing runs until you press Enter.';
  const picked = await vscode.window.showQuickPick([...picks, locate], { title, placeHolder });
  if (picked === locate) {
    await vscode.commands.executeCommand('workbench.action.openSettings', 'midfill.path');
  } else if (picked !== undefined) {
    await inTerminal(picked.label, false);
  }
}

/**
 * Call `look` when midfill may have been installed: whenever a command in a terminal ends, if VS Code reports that
 * (since 1.93), and every few seconds, which costs some calls to the file system.
 */
export function watch(look: () => void): vscode.Disposable {
  const { onDidEndTerminalShellExecution: onEnd } = vscode.window as { onDidEndTerminalShellExecution?: vscode.Event<unknown> };
  const timer = setInterval(look, LOOK_MS);
  return vscode.Disposable.from(onEnd?.(look) ?? { dispose: () => undefined }, { dispose: () => clearInterval(timer) });
}

/** Write a command into a new terminal; if `run` is false, the user presses Enter. */
export async function inTerminal(command: string, run: boolean): Promise<void> {
  const terminal = vscode.window.createTerminal({ name: 'midfill', cwd: MACHINE.home });
  terminal.show();
  await terminal.processId;
  await new Promise((resolve) => setTimeout(resolve, PROMPT_MS));
  terminal.sendText(command, run);
}

/** Quote a word for the shell. */
export function quoted(word: string): string {
  if (/^[\w./:\\~-]+$/.test(word)) {
    return word;
  }
  return IS_WINDOWS ? `& "${word}"` : `'${word.replaceAll("'", `'\\''`)}'`;
}

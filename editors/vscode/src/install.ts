/** Offers to install midfill: the command stands in a terminal, and the person presses Enter. */

import * as vscode from 'vscode';
import { onPath } from './find.ts';
import { MACHINE, folders } from './session.ts';

const PACKAGE = process.platform === 'win32' ? '"midfill[embedded]"' : "'midfill[embedded]'";
const WAYS = [
  { needs: 'uv', command: `uv tool install ${PACKAGE}` },
  { needs: 'pipx', command: `pipx install ${PACKAGE}` },
  { needs: process.platform === 'win32' ? 'py' : 'python3', command: `${process.platform === 'win32' ? 'py' : 'python3'} -m pip install --user ${PACKAGE}` },
];

/** Let the person choose among the ways that this machine has. */
export async function install(): Promise<void> {
  const there = WAYS.filter(({ needs }) => onPath(needs, folders(), MACHINE));
  const picks = (there.length ? there : WAYS).map(({ needs, command }) => ({
    label: command, description: there.length ? '' : `needs ${needs}, which is not there`,
  }));
  const locate = { label: 'It is installed: say where', description: 'the setting midfill.path' };
  const title = 'Install midfill with its embedded model (about 1 GB with PyTorch)';
  const picked = await vscode.window.showQuickPick([...picks, locate], { title, placeHolder: 'The command is put into a terminal; nothing runs before you press Enter' });
  if (picked === locate) {
    await vscode.commands.executeCommand('workbench.action.openSettings', 'midfill.path');
  } else if (picked !== undefined) {
    inTerminal(picked.label, false);
  }
}

/** A command in a terminal of its own; `run` false: the person presses Enter. */
export function inTerminal(command: string, run: boolean): void {
  const terminal = vscode.window.createTerminal({ name: 'midfill', cwd: MACHINE.home });
  terminal.show();
  terminal.sendText(command, run);
}

/** A word for the shell. */
export function quoted(word: string): string {
  if (/^[\w./:\\~-]+$/.test(word)) {
    return word;
  }
  return process.platform === 'win32' ? `& "${word}"` : `'${word.replaceAll("'", `'\\''`)}'`;
}

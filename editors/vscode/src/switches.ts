/** Where suggestions are on and off, and how VS Code's settings switch them. */

import * as vscode from 'vscode';
import { toggled } from './settings.ts';

export function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration('midfill');
}

const FILES_OFF = 'filesOff';
const MAX_FILES_OFF = 500;
let memory: vscode.Memento | undefined;

/** Set where to remember the files that are switched off: the window's own state, never the project's settings. */
export function keepIn(state: vscode.Memento): void {
  memory = state;
}

/** Return why the extension asks for no automatic suggestions in this document; "" if it does ask. */
export function whyOff(document: vscode.TextDocument | undefined): string {
  if (settings().get<string>('trigger') === 'manual') {
    return 'suggestions come only when you ask (midfill.trigger)';
  }
  const isOff = document !== undefined && filesOff().includes(document.uri.toString());
  return isOff ? 'turned off in this file; what you ask for comes' : '';
}

function filesOff(): string[] {
  return memory?.get<string[]>(FILES_OFF, []) ?? [];
}

export function isOffInFile(document: vscode.TextDocument): boolean {
  return filesOff().includes(document.uri.toString()) || isInGlobs(document);
}

/** Whether the setting disabledFiles names this file alone. */
function isInGlobs(document: vscode.TextDocument): boolean {
  return settings().get<string[]>('disabledFiles', []).includes(globOf(document));
}

/** Return the glob for this file alone: its path in the workspace, or its name. */
export function globOf(document: vscode.TextDocument): string {
  return vscode.workspace.asRelativePath(document.uri, false).replace(/^\/+/, '').replace(/[[\]*?]/g, '?');
}

export function toggleEverywhere(): Thenable<void> {
  const isOn = settings().inspect<boolean>('enabled')?.globalValue ?? true;
  return settings().update('enabled', !isOn, vscode.ConfigurationTarget.Global);
}

export function toggleWorkspace(): Thenable<void> {
  const isOn = settings().get<boolean>('enabled', true);
  const isOnElsewhere = settings().inspect<boolean>('enabled')?.globalValue ?? true;
  return settings().update('enabled', !isOn === isOnElsewhere ? undefined : !isOn, vscode.ConfigurationTarget.Workspace);
}

/** Switch a language. `told`: the server's name of it, and the languages that are off by any of its settings. */
export function toggleLanguage(told: { language: string; disabledLanguages: string[] }): Thenable<void> {
  return toggleIn('disabledLanguages', told.language, vscode.ConfigurationTarget.Global, told.disabledLanguages);
}

/** Switch a file. Off is remembered here; on again also removes a setting that names the file. */
export async function toggleFile(document: vscode.TextDocument): Promise<void> {
  const isOff = isOffInFile(document);
  if (isInGlobs(document)) {
    await toggleInGlobs(document);
  }
  const others = filesOff().filter((uri) => uri !== document.uri.toString());
  const files = isOff ? others : [...others, document.uri.toString()].slice(-MAX_FILES_OFF);
  await memory?.update(FILES_OFF, files.length ? files : undefined);
}

function toggleInGlobs(document: vscode.TextDocument): Thenable<void> {
  const { Global, Workspace } = vscode.ConfigurationTarget;
  const target = vscode.workspace.getWorkspaceFolder(document.uri) === undefined ? Global : Workspace;
  return toggleIn('disabledFiles', globOf(document), target);
}

/** Change a list where it is already set, because a workspace's list hides the user's. */
async function toggleIn(
  name: string, entry: string, target: vscode.ConfigurationTarget, inForce?: readonly string[],
): Promise<void> {
  const known = settings().inspect<string[]>(name);
  const isLocal = known?.workspaceValue !== undefined;
  const own = settings().get<string[]>(name, []);
  const list = toggled(inForce ?? own, entry);
  // An empty list also counts: it hides the list of midfill's own file, in case the entry came from there.
  const value = list.length || !own.includes(entry) ? list : undefined;
  await settings().update(name, value, isLocal ? vscode.ConfigurationTarget.Workspace : target);
}

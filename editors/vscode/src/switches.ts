/** Where suggestions are on and off, and switching it in VS Code's settings. */

import * as vscode from 'vscode';
import { toggled } from './settings.ts';

export function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration('midfill');
}

/** Why nothing comes unasked in this editor, whatever the server says; "" if nothing keeps it. */
export function whyOff(): string {
  return settings().get<string>('trigger') === 'byHand' ? 'suggestions come only when you ask (midfill.trigger)' : '';
}

export function isOffInFile(document: vscode.TextDocument): boolean {
  return settings().get<string[]>('globsOff', []).includes(globOf(document));
}

/** The glob that means this one file: its path in the workspace, or its name. */
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

/** `told`: what the server calls the document's language, and the languages that are off by any of its settings. */
export function toggleLanguage(told: { language: string; languagesOff: string[] }): Thenable<void> {
  return toggleIn('languagesOff', told.language, vscode.ConfigurationTarget.Global, told.languagesOff);
}

export function toggleFile(document: vscode.TextDocument): Thenable<void> {
  const { Global, Workspace } = vscode.ConfigurationTarget;
  const target = vscode.workspace.getWorkspaceFolder(document.uri) === undefined ? Global : Workspace;
  return toggleIn('globsOff', globOf(document), target);
}

/** Where the list is set already it is changed there, since a workspace's list hides the person's. */
async function toggleIn(
  name: string, entry: string, target: vscode.ConfigurationTarget, inForce?: readonly string[],
): Promise<void> {
  const known = settings().inspect<string[]>(name);
  const isLocal = known?.workspaceValue !== undefined;
  const own = settings().get<string[]>(name, []);
  const list = toggled(inForce ?? own, entry);
  // An empty list counts as well: it hides that of midfill's own file, where the entry came from there.
  const value = list.length || !own.includes(entry) ? list : undefined;
  await settings().update(name, value, isLocal ? vscode.ConfigurationTarget.Workspace : target);
}

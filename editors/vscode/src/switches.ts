/** Where suggestions are on and off, and switching it in VS Code's settings. */

import * as vscode from 'vscode';
import { toggled } from './settings.ts';

export const OFF_HERE = 'midfill is off in this file';

export function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration('midfill');
}

/** Why nothing comes unasked in `document`; "" if it does. The server refuses by the same settings. */
export function whyOff(document: vscode.TextDocument | undefined): string {
  const own = settings();
  if (!own.get<boolean>('enabled', true)) {
    const isLocal = own.inspect('enabled')?.workspaceValue === false;
    return isLocal ? 'midfill is off in this workspace' : 'midfill is off everywhere';
  }
  if (own.get<string>('trigger') === 'byHand') {
    return 'suggestions come only when you ask (midfill.trigger)';
  }
  if (document === undefined) {
    return '';
  }
  if (own.get<string[]>('languagesOff', []).includes(document.languageId)) {
    return `midfill is off for ${document.languageId}`;
  }
  const glob = own.get<string[]>('globsOff', []).find((each) => isMeant(document, each));
  return glob === undefined ? '' : glob === globOf(document) ? OFF_HERE : `midfill is off for files like ${glob}`;
}

/** Whether `glob` means `document`: with a "/" its path in the workspace, else any name in it. */
function isMeant(document: vscode.TextDocument, glob: string): boolean {
  const folder = vscode.workspace.getWorkspaceFolder(document.uri);
  const patterns = glob.includes('/') ? [glob] : [`**/${glob}`, `**/${glob}/**`];
  return patterns.some((pattern) => {
    const filter = { pattern: folder === undefined ? pattern : new vscode.RelativePattern(folder, pattern) };
    return vscode.languages.match(filter, document) > 0;
  });
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

export function toggleLanguage(language: string): Thenable<void> {
  return toggleIn('languagesOff', language, vscode.ConfigurationTarget.Global);
}

export function toggleFile(document: vscode.TextDocument): Thenable<void> {
  const { Global, Workspace } = vscode.ConfigurationTarget;
  const target = vscode.workspace.getWorkspaceFolder(document.uri) === undefined ? Global : Workspace;
  return toggleIn('globsOff', globOf(document), target);
}

/** Where the list is set already it is changed there, since a workspace's list hides the person's. */
async function toggleIn(name: string, entry: string, target: vscode.ConfigurationTarget): Promise<void> {
  const known = settings().inspect<string[]>(name);
  const isLocal = known?.workspaceValue !== undefined;
  const list = toggled(settings().get<string[]>(name, []), entry);
  await settings().update(name, list.length ? list : undefined, isLocal ? vscode.ConfigurationTarget.Workspace : target);
}

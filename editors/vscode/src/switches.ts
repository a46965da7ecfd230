/** Where suggestions are on and off, and switching it in VS Code's settings. */

import * as vscode from 'vscode';
import { toggled } from './settings.ts';

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
  return own.get<string[]>('globsOff', []).includes(globOf(document)) ? 'midfill is off in this file' : '';
}

/** The glob that means this one file: its path in the workspace, or its name. */
export function globOf(document: vscode.TextDocument): string {
  return vscode.workspace.asRelativePath(document.uri, false).replace(/^\/+/, '').replace(/[[\]*?]/g, '?');
}

export function toggleEverywhere(): Thenable<void> {
  return settings().update('enabled', !(settings().inspect<boolean>('enabled')?.globalValue ?? true), vscode.ConfigurationTarget.Global);
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
  const hasWorkspace = vscode.workspace.getWorkspaceFolder(document.uri) !== undefined;
  return toggleIn('globsOff', globOf(document), hasWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global);
}

/** Where the list is set already it is changed there, since a workspace's list hides the person's. */
async function toggleIn(name: string, entry: string, target: vscode.ConfigurationTarget): Promise<void> {
  const known = settings().inspect<string[]>(name);
  const isLocal = known?.workspaceValue !== undefined;
  const list = toggled(settings().get<string[]>(name, []), entry);
  await settings().update(name, list.length ? list : undefined, isLocal ? vscode.ConfigurationTarget.Workspace : target);
}

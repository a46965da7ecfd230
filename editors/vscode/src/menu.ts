/** The status bar item's menu. */

import * as vscode from 'vscode';
import type { Reports } from './reports.ts';
import type { Session } from './session.ts';
import { isOffInFile, settings, whyOff } from './switches.ts';
import type { Told, Why } from './why.ts';

interface Entry extends vscode.QuickPickItem {
  command?: string;
}

/** What can be done, the likeliest first. */
export function entries(session: Session, document: vscode.TextDocument | undefined, told: Told | undefined): Entry[] {
  const separator = (label: string): Entry => ({ label, kind: vscode.QuickPickItemKind.Separator });
  if (session.missing) {
    return [
      { label: '$(cloud-download) Install midfill...', description: session.missing, command: 'midfill.install' },
      { label: '$(refresh) Look again', command: 'midfill.restart' },
      { label: '$(gear) Settings', command: 'midfill.settings' },
      { label: '$(output) Log', command: 'midfill.showLog' },
    ];
  }
  const { status } = session;
  const help: Entry[] = status.state === 'error'
    ? [
      { label: '$(error) ' + (status.message || 'midfill has a problem'), detail: status.remedy },
      { label: '$(pulse) Run doctor', command: 'midfill.doctor' },
      { label: '$(refresh) Restart', command: 'midfill.restart' },
    ]
    : [];
  return [
    ...help,
    separator('suggestions'),
    ...switches(document, told),
    separator('this one'),
    { label: '$(question) Why this, why nothing?', command: 'midfill.explain' },
    { label: '$(sparkle) Suggest here', description: 'Alt+\\', command: 'midfill.trigger' },
    separator('midfill'),
    { label: '$(layers) Adapter...', description: status.adapter || chosenAdapter(), command: 'midfill.chooseAdapter' },
    { label: '$(graph) Statistics', command: 'midfill.statistics' },
    { label: '$(output) Log', command: 'midfill.showLog' },
    { label: '$(gear) Settings', command: 'midfill.settings' },
    ...(help.length ? [] : [{ label: '$(refresh) Restart', command: 'midfill.restart' }]),
  ];
}

function switches(document: vscode.TextDocument | undefined, told: Told | undefined): Entry[] {
  const own = settings();
  const isOnEverywhere = own.inspect<boolean>('enabled')?.globalValue ?? true;
  const isOn = own.get<boolean>('enabled', true);
  const language = told?.language ?? '';
  const entry = (isOnThere: boolean, where: string, command: string): Entry =>
    ({ label: `${isOnThere ? '$(circle-slash) Turn off' : '$(check) Turn on'} ${where}`, command });
  return [
    ...(document !== undefined && isOn
      ? [
        entry(!isOffInFile(document), 'in this file', 'midfill.toggleFile'),
        ...(language ? [entry(!told!.languagesOff.includes(language), `for ${language}`, 'midfill.toggleLanguage')] : []),
      ]
      : []),
    ...(vscode.workspace.workspaceFolders?.length ? [entry(isOn, 'in this workspace', 'midfill.toggleWorkspace')] : []),
    entry(isOnEverywhere, 'everywhere', 'midfill.toggle'),
  ];
}

export async function menu(session: Session, why: Why, document: vscode.TextDocument | undefined): Promise<void> {
  const told = await why.ask(document);
  const off = told?.why || whyOff();
  const placeHolder = session.missing || off || session.status.message || `Ready: ${session.status.model}`;
  const picked = await vscode.window.showQuickPick(entries(session, document, told), { title: 'midfill', placeHolder });
  if (picked?.command !== undefined) {
    await vscode.commands.executeCommand(picked.command);
  }
}

function chosenAdapter(): string {
  return settings().get<string>('adapter', 'auto');
}

/** Choose among the registered adapters; a workspace that has a choice of its own keeps having one. */
export async function chooseAdapter(reports: Reports): Promise<void> {
  const progress = { location: vscode.ProgressLocation.Window, title: 'midfill: adapters' };
  const names = await vscode.window.withProgress(progress, () => reports.adapters());
  const current = chosenAdapter();
  const picks = ['auto', 'none', ...names].map((label) => ({ label, description: label === current ? 'chosen' : '' }));
  const placeHolder = names.length ? 'The adapter that answers' : 'None is registered yet: midfill adapters add FOLDER --name NAME';
  const picked = await vscode.window.showQuickPick(picks, { title: 'midfill: adapter', placeHolder });
  if (picked !== undefined) {
    const { Global, Workspace } = vscode.ConfigurationTarget;
    const isLocal = settings().inspect('adapter')?.workspaceValue !== undefined;
    await settings().update('adapter', picked.label, isLocal ? Workspace : Global);
  }
}

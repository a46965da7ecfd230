/** The status bar item's menu. */

import * as vscode from 'vscode';
import type { Session } from './session.ts';
import { headline } from './status.ts';
import { isOffInFile, settings, whyOff } from './switches.ts';
import type { Told, Why } from './why.ts';

interface Entry extends vscode.QuickPickItem {
  command?: string;
  given?: unknown;
}

/** Return the entries of the menu, the most likely ones first. */
export function entries(session: Session, document: vscode.TextDocument | undefined, told: Told | undefined): Entry[] {
  const separator = (label: string): Entry => ({ label, kind: vscode.QuickPickItemKind.Separator });
  if (session.missing) {
    return [
      { label: '$(cloud-download) Install midfill…', description: session.missing, command: 'midfill.install' },
      { label: '$(refresh) Check again', command: 'midfill.restart' },
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
    separator('how much'),
    { label: '$(dashboard) Eagerness…', description: chosen(session, 'eagerness'), command: 'midfill.chooseEagerness' },
    { label: '$(list-flat) Lines…', description: chosen(session, 'lines'), command: 'midfill.chooseLines' },
    ...snoozes(session),
    separator('this suggestion'),
    { label: '$(question) Explain last suggestion', command: 'midfill.explain' },
    { label: '$(sparkle) Trigger suggestion', description: 'Alt+\\', command: 'midfill.trigger' },
    separator('midfill'),
    { label: '$(chip) Choose model…', description: status.model || chosen(session, 'model'), command: 'midfill.chooseModel' },
    { label: '$(layers) Choose adapter…', description: status.adapter || chosen(session, 'adapter'), command: 'midfill.chooseAdapter' },
    { label: '$(graph) Statistics', command: 'midfill.statistics' },
    { label: '$(output) Log', command: 'midfill.showLog' },
    { label: '$(gear) Settings', command: 'midfill.settings' },
    ...(help.length ? [] : [{ label: '$(refresh) Restart', command: 'midfill.restart' }]),
  ];
}

function chosen({ status }: Session, name: 'eagerness' | 'lines' | 'model' | 'adapter'): string {
  const battery = name === 'eagerness' && status.on_battery ? ', on battery power' : '';
  return (status[name] || settings().get<string>(name, '')) + battery;
}

function snoozes({ snoozedS }: Session): Entry[] {
  const left = Math.ceil(snoozedS / 60);
  return [
    ...(left ? [{ label: '$(bell) End the snooze', description: `${left} min left`, command: 'midfill.snooze', given: 0 }] : []),
    { label: '$(bell-slash) Snooze…', description: '5, 15 or 60 minutes', command: 'midfill.snooze' },
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
        ...(language ? [entry(!told!.disabledLanguages.includes(language), `for ${told!.name}`, 'midfill.toggleLanguage')] : []),
      ]
      : []),
    ...(vscode.workspace.workspaceFolders?.length ? [entry(isOn, 'in this workspace', 'midfill.toggleWorkspace')] : []),
    entry(isOnEverywhere, 'everywhere', 'midfill.toggle'),
  ];
}

export async function menu(session: Session, why: Why, document: vscode.TextDocument | undefined): Promise<void> {
  const told = await why.ask(document);
  const off = told?.why || whyOff(document);
  const placeHolder = headline(session.status, { missing: session.missing, off, snoozedS: session.snoozedS });
  const picked = await vscode.window.showQuickPick(entries(session, document, told), { title: 'midfill', placeHolder });
  if (picked?.command !== undefined) {
    await vscode.commands.executeCommand(picked.command, ...(picked.given === undefined ? [] : [picked.given]));
  }
}

/** The choices of the menu: eagerness, number of lines, a pause, the model, the adapter. */

import * as vscode from 'vscode';
import type { Reports } from './reports.ts';
import type { Session } from './session.ts';
import { settings } from './switches.ts';

const SNOOZES_MIN = [5, 15, 60];

const KNOB: Record<string, Record<string, string>> = {
  eagerness: {
    quiet: 'one line at a time, when you stop typing and the model is sure',
    balanced: 'lines and blocks as you type, where the model is fairly sure',
    eager: 'sooner, longer, and also where the model is less sure',
  },
  lines: { one: 'a suggestion ends with its line', auto: 'blocks too, where the code calls for one' },
};

interface Pick extends vscode.QuickPickItem {
  value: string;
}

/** Let the user choose a position of `eagerness` or `lines`. */
export async function turn(session: Session, name: 'eagerness' | 'lines'): Promise<void> {
  const current = session.status[name] ?? settings().get<string>(name);
  const picks = Object.entries(KNOB[name]!).map(([value, detail]) => ({
    label: value, value, detail, description: value === current ? 'chosen' : '',
  }));
  const placeHolder = name === 'lines' ? 'How many lines a suggestion may have' : 'How much is suggested automatically';
  await choose(name, picks, placeHolder);
}

/** Let the user choose among the models on this machine and those on the hub. */
export async function chooseModel(session: Session): Promise<void> {
  const told = await session.client()?.sendRequest<Models>('midfill/models').catch(() => undefined);
  if (told === undefined) {
    void vscode.window.showInformationMessage('midfill is not running, so the models cannot be listed.');
    return;
  }
  const auto = { label: 'auto', value: 'auto', detail: 'CodeGemma-7B where a GPU has room for it, else the embedded model' };
  const picks = (here: boolean): Pick[] => told.models.filter((model) => model.here === here).map((model) => ({
    label: model.name, value: model.spec, detail: sizes(model), description: model.spec === told.model ? 'chosen' : '',
  }));
  const title = (label: string): Pick => ({ label, value: '', kind: vscode.QuickPickItemKind.Separator });
  const there = [{ ...auto, description: told.model === 'auto' ? 'chosen' : '' }, ...picks(true)];
  const every = [title('on this machine'), ...there, title('on the hub (downloaded once)'), ...picks(false)];
  await choose('model', every, 'The model for suggestions');
}

/** The answer to `midfill/models`. */
interface Models {
  model: string;
  models: { spec: string; name: string; here: boolean; size: number; memory: number }[];
}

function sizes({ here, size, memory }: Models['models'][number]): string {
  return `${gigabytes(size)} ${here ? 'on disk' : 'to download'}, needs about ${gigabytes(memory)} of memory`;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Let the user choose among the registered adapters. */
export async function chooseAdapter(reports: Reports): Promise<void> {
  const progress = { location: vscode.ProgressLocation.Window, title: 'midfill: adapters' };
  const names = await vscode.window.withProgress(progress, () => reports.adapters());
  const current = settings().get<string>('adapter', 'auto');
  const picks = ['auto', 'none', ...names].map((value) => ({
    label: value, value, description: value === current ? 'chosen' : '',
  }));
  const none = 'None is registered yet: midfill adapters add FOLDER --name NAME';
  await choose('adapter', picks, names.length ? 'The adapter for suggestions' : none);
}

/** Pause automatic suggestions for some minutes; 0 ends the pause. Without a number, ask the user. */
export async function snooze(session: Session, minutes: unknown): Promise<void> {
  const length = typeof minutes === 'number' ? minutes : await askMinutes(session.snoozedS > 0);
  const params = { command: 'midfill.snooze', arguments: [length] };
  if (length !== undefined) {
    await session.client()?.sendRequest('workspace/executeCommand', params).catch(() => undefined);
  }
}

async function askMinutes(isOn: boolean): Promise<number | undefined> {
  const picks = SNOOZES_MIN.map((minutes) => ({ label: `${minutes} minutes`, minutes }));
  const every = isOn ? [{ label: 'End the snooze', minutes: 0 }, ...picks] : picks;
  return (await vscode.window.showQuickPick(every, { title: 'midfill: snooze', placeHolder: 'Pause automatic suggestions for' }))?.minutes;
}

/** Let the user pick the value of a setting. If the workspace has its own value, that one is changed. */
async function choose(name: string, picks: Pick[], placeHolder: string): Promise<void> {
  const picked = await vscode.window.showQuickPick(picks, { title: `midfill: ${name}`, placeHolder });
  if (picked !== undefined) {
    const { Global, Workspace } = vscode.ConfigurationTarget;
    const isLocal = settings().inspect(name)?.workspaceValue !== undefined;
    await settings().update(name, picked.value, isLocal ? Workspace : Global);
  }
}

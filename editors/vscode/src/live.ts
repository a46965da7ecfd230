/** One request of ghost text's, from VS Code's question to what is shown. */

import * as vscode from 'vscode';
import type { InlineCompletionList } from 'vscode-languageclient/node';
import { goingOn, texts } from './growth.ts';

const NONE: InlineCompletionList = { items: [] };

/** One request to the server and what VS Code was told of it. */
export interface Live {
  readonly document: vscode.TextDocument;
  readonly version: number;
  readonly position: vscode.Position;
  readonly byHand: boolean;
  /** What is to come, from the request that this one goes on with. */
  readonly expected: string;
  /** What was typed along it since. */
  typed: string;
  readonly stop: vscode.CancellationTokenSource;
  latest: InlineCompletionList;
  shown: InlineCompletionList;
  /** The entry that was selected in the suggest widget when it was shown last. */
  selected: vscode.SelectedCompletionInfo | undefined;
  /** Settles with the first value, where it may grow, else with the last one. */
  first: Promise<void>;
  /** How many of VS Code's questions wait for that. */
  nWaiting: number;
  answered: boolean;
  finished: boolean;
  isPumping: boolean;
}

/** A request that begins. */
export function begun(
  document: vscode.TextDocument, position: vscode.Position, byHand: boolean, expected: string,
): Live {
  return {
    document, version: document.version, position, byHand, expected, typed: '',
    stop: new vscode.CancellationTokenSource(), latest: NONE, shown: NONE,
    selected: undefined, first: Promise.resolve(), nWaiting: 0, answered: false, finished: false, isPumping: false,
  };
}

/** Whether the cursor of `editor` stands where it was asked for, and nothing has changed since. */
export function isInPlace(live: Pick<Live, 'document' | 'version' | 'position'>, editor: vscode.TextEditor | undefined): boolean {
  return (
    editor?.document === live.document && live.document.version === live.version &&
    editor.selection.isEmpty && editor.selection.active.isEqual(live.position)
  );
}

/** What is known of a request's suggestion. */
export function known(live: Live): string {
  return texts(live.latest)[0] ?? live.expected;
}

/** Whether `position` is where `live` was typed along to. */
export function isAlong(live: Live, document: vscode.TextDocument, position: vscode.Position): boolean {
  const reached = document.offsetAt(live.position) + live.typed.length;
  return live.document === document && document.offsetAt(position) === reached;
}

/** `item` where an entry is selected in the suggest widget; nothing where it does not go on with that. */
export function fitted(
  item: vscode.InlineCompletionItem, live: Live, { range, text }: vscode.SelectedCompletionInfo,
): vscode.InlineCompletionItem[] {
  const typed = live.document.getText(new vscode.Range(range.start, live.position));
  const whole = goingOn(text, typed, String(item.insertText));
  if (whole === undefined) {
    return [];
  }
  const end = item.range?.end ?? live.position;
  const fitting = new vscode.InlineCompletionItem(whole, new vscode.Range(range.start, end.isAfter(range.end) ? end : range.end));
  return [Object.assign(fitting, { command: item.command })];
}
